package receipt

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	fwitness "github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"
)

// witnessKey makes a witness's keys from a name.
func witnessKey(t testing.TB, name string) (*fnote.Signer, string) {
	t.Helper()
	sk, vk, err := note.GenerateKey(&repeated{sha256.Sum256([]byte(name)), 0}, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := fnote.NewSignerForCosignatureV1(sk)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := fnote.VKeyToCosignatureV1(vk)
	if err != nil {
		t.Fatal(err)
	}
	return s, vkey
}

type repeated struct {
	b [32]byte
	n int
}

func (r *repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.b[r.n%32]
		r.n++
	}
	return len(p), nil
}

var _ io.Reader = &repeated{}

func TestWitnessPolicy(t *testing.T) {
	var text strings.Builder
	signers := map[string]*fnote.Signer{}
	for _, n := range []string{"x1", "x2", "x3", "y1", "y2"} {
		s, vkey := witnessKey(t, "witness.example/"+n)
		signers[n] = s
		fmt.Fprintf(&text, "witness %s %s https://%s.example/w\n", n, vkey, n)
	}
	text.WriteString("# two of one house, one of the other\n\ngroup X 2 x1 x2\tx3\ngroup Y any y1 y2\n group both all X Y\nquorum both\n")
	p, err := ParseWitnessPolicy([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := fwitness.ParsePolicy([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Witnesses) != 5 || p.Witnesses[0].URL != "https://x1.example/w" || !p.Asks() {
		t.Fatalf("%+v", p)
	}
	for set := range 32 {
		var by []string
		for i, n := range []string{"x1", "x2", "x3", "y1", "y2"} {
			if set&(1<<i) != 0 {
				by = append(by, n)
			}
		}
		signed := checkpointBy(t, 9, "a")
		for _, n := range by {
			one, err := note.Sign(&note.Note{Text: string(signed[:strings.LastIndex(string(signed), "\n\n")+1])}, signers[n])
			if err != nil {
				// The blank line is found once only in a checkpoint.
				t.Fatal(err)
			}
			signed = append(signed, one[strings.LastIndex(string(one), "\n\n")+2:]...)
		}
		house := 0
		for _, n := range by {
			if n[0] == 'x' {
				house++
			}
		}
		want := house >= 2 && len(by) > house
		if p.Satisfied(signed) != want || theirs.Satisfied(signed) != want || len(p.Cosigners(signed)) != len(by) {
			t.Errorf("%v: %v, the library %v, want %v", by, p.Satisfied(signed), theirs.Satisfied(signed), want)
		}
	}
	none, err := ParseWitnessPolicy([]byte("quorum none\n"))
	if err != nil || none.Asks() || !none.Satisfied(checkpointBy(t, 9, "a")) {
		t.Fatalf("none: %v", err)
	}
}

// Each of these would ask for less than it seems to, or nobody knows what it asks for.
func TestBadWitnessPolicies(t *testing.T) {
	_, k1 := witnessKey(t, "witness.example/1")
	_, k2 := witnessKey(t, "witness.example/2")
	_, plain, err := note.GenerateKey(&repeated{sha256.Sum256([]byte("witness.example/1")), 0}, "other.example/1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := fnote.VKeyToCosignatureV1(plain) // the key of witness 1 under another name
	if err != nil {
		t.Fatal(err)
	}
	two := "witness a " + k1 + "\nwitness b " + k2 + "\n"
	logKey, _ := logPin("a").LogKey()
	for name, text := range map[string]string{
		"empty": "", "no quorum": two, "threshold 0": two + "group g 0 a b\nquorum g\n", "threshold above": two + "group g 3 a b\nquorum g\n", "threshold 01": two + "group g 01 a b\nquorum g\n",
		"a member twice": two + "group g 2 a a\nquorum g\n", "a member of two groups": two + "group g 1 a\ngroup h 1 a b\nquorum h\n", "no member": two + "group g all\nquorum g\n",
		"unknown member": two + "group g 1 c\nquorum g\n", "unknown quorum": two + "quorum c\n", "two quorums": two + "quorum a\nquorum b\n", "a name twice": two + "witness a " + k2 + "\nquorum a\n",
		"a key twice": "witness a " + k1 + "\nwitness b " + k1 + "\nquorum a\n", "a key of another name": "witness a " + k1 + "\nwitness b " + again + "\nquorum a\n",
		"none as a name": "witness none " + k1 + "\nquorum none\n", "a group of itself": two + "group g 1 g\nquorum g\n", "later definition": "group g 1 a\n" + two + "quorum g\n",
		"unknown word": two + "quora a\n", "carriage return": two + "quorum a\r\n", "not a key": "witness a b+c+d\nquorum a\n", "not a URL": "witness a " + k1 + " ftp://x\nquorum a\n",
		"a URL with a password": "witness a " + k1 + " https://u:p@x/\nquorum a\n", "a log twice": "log " + logKey + "\nlog " + logKey + "\nquorum none\n", "too long": strings.Repeat("#\n", MaxWitnessPolicy),
		"too many": strings.Repeat("group g 1 a\n", 2), "vertical tab": "quorum\vnone\n",
	} {
		if _, err := ParseWitnessPolicy([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzWitnessPolicy(f *testing.F) {
	_, k1 := witnessKey(f, "witness.example/1")
	f.Add([]byte("witness a " + k1 + " https://a.example\ngroup g any a\nquorum g\n"))
	f.Add([]byte("quorum none\n"))
	signed := checkpointBy(&testing.T{}, 9, "a")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseWitnessPolicy(b)
		if err == nil && p.Quorum != "none" && p.Satisfied(signed) {
			t.Fatalf("satisfied by nobody: %q", b)
		}
	})
}
