package receipt

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
)

func TestOpening(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Opening{Text: rapid.String().Draw(t, "text")}
		copy(o.Salt[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "salt"))
		if len(o.Text) > MaxPrivate {
			return
		}
		got, err := DecodeOpening(o.Encode())
		if err != nil || got != o {
			t.Fatalf("%+v %v", got, err)
		}
		other := o
		other.Salt[7]++
		if other.Commitment() == o.Commitment() {
			t.Fatal("the salt does not matter")
		}
		other = o
		other.Text += "x"
		if other.Commitment() == o.Commitment() {
			t.Fatal("the text does not matter")
		}
		d, ok := ParsePrivateRef(PrivateRef(o.Commitment()))
		if !ok || d != o.Commitment() || !IsPrivateRef(PrivateRef(d)) {
			t.Fatal("the reference does not lead back")
		}
	})
	for _, bad := range []string{``, `{}`, `{"salt":"","text":"a"}`, `{"text":"a","salt":"00"}`} {
		if _, err := DecodeOpening([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
	for _, bad := range []string{"", "private:", "private:sha256:00", "why", PrivateRef(vaultmesh.Digest{})} {
		if _, ok := ParsePrivateRef(bad); ok {
			t.Errorf("%q passes for a reference", bad)
		}
	}
}

func TestPrivateIn(t *testing.T) {
	a, b := vaultmesh.Sum([]byte("a")), vaultmesh.Sum([]byte("b"))
	body := []byte(`{"reason":"` + PrivateRef(a) + `","x":"private:sha256:zz","y":"see private:","z":["` + PrivateRef(b) + `"]}`)
	got := PrivateIn(body)
	if len(got) != 2 || got[0] != a || got[1] != b {
		t.Errorf("%v", got)
	}
	if PrivateIn(body[:30]) != nil || PrivateIn(nil) != nil {
		t.Error("found in what is cut short")
	}
}

func FuzzDecodeOpening(f *testing.F) {
	o := Opening{Text: "why \"<é>\""}
	f.Add(o.Encode())
	f.Fuzz(func(t *testing.T, doc []byte) {
		if o, err := DecodeOpening(doc); err == nil && !bytes.Equal(o.Encode(), doc) {
			t.Fatal("two texts of one opening")
		}
		_ = PrivateIn(doc)
	})
}
