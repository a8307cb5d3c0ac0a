package rlp_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of ethereum.org's page on RLP.
func TestVectors(t *testing.T) {
	lorem := "Lorem ipsum dolor sit amet, consectetur adipisicing elit"
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"dog", rlp.AppendBytes(nil, []byte("dog")), "83646f67"},
		{"cat dog", rlp.AppendList(nil, rlp.AppendBytes(rlp.AppendBytes(nil, []byte("cat")), []byte("dog"))), "c88363617483646f67"},
		{"empty string", rlp.AppendBytes(nil, nil), "80"},
		{"empty list", rlp.AppendList(nil, nil), "c0"},
		{"0", rlp.AppendUint(nil, 0), "80"},
		{"a zero byte", rlp.AppendBytes(nil, []byte{0}), "00"},
		{"15", rlp.AppendUint(nil, 15), "0f"},
		{"128", rlp.AppendUint(nil, 128), "8180"},
		{"1024", rlp.AppendUint(nil, 1024), "820400"},
		{"big", rlp.AppendInt(nil, []byte{0, 0, 4, 0}), "820400"},
		{"set theory", rlp.AppendList(nil, unhex(t, "c0c1c0c3c0c1c0")), "c7c0c1c0c3c0c1c0"},
		{"56 bytes", rlp.AppendBytes(nil, []byte(lorem)), "b838" + hex.EncodeToString([]byte(lorem))},
		{"1024 bytes", rlp.AppendBytes(nil, make([]byte, 1024)), "b90400" + strings.Repeat("00", 1024)},
		{"list of 60 bytes", rlp.AppendList(nil, make([]byte, 60)), "f83c" + strings.Repeat("00", 60)},
	} {
		if hex.EncodeToString(c.got) != c.want {
			t.Errorf("%s: %x, want %s", c.name, c.got, c.want)
		}
		if it, err := rlp.Decode(c.got); err != nil || !bytes.Equal(it.Raw, c.got) {
			t.Errorf("%s: %+v %v", c.name, it, err)
		}
	}
}

// Whatever has a second spelling is refused.
func TestNotCanonical(t *testing.T) {
	for _, c := range []struct{ name, hex, want string }{
		{"nothing", "", "missing"},
		{"trailing byte", "83646f6700", "follow"},
		{"short string", "83646f", "announced"},
		{"prefixed single byte", "817f", "stands for itself"},
		{"long form of a short string", "b803646f67", "part of the prefix"},
		{"long form of a short list", "f803010203", "part of the prefix"},
		{"leading zero of a length", "b90038" + strings.Repeat("00", 56), "begins with a zero"},
		{"no length", "b9", "within a length"},
		{"half a length", "b901", "within a length"},
		{"2^64-1 bytes", "bfffffffffffffffff", "announced"},
		{"list of 2^64-1 bytes", "ffffffffffffffffff", "announced"},
	} {
		_, err := rlp.Decode(unhex(t, c.hex))
		if err == nil || !strings.Contains(err.Error(), c.want) || vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for name, text := range map[string]string{"leading zero": "820001", "9 bytes": "89010000000000000000", "list": "c0", "zero byte": "00"} {
		it, err := rlp.Decode(unhex(t, text))
		if err != nil {
			t.Fatal(name, err)
		}
		if n, err := it.Uint(); err == nil {
			t.Errorf("%s is the integer %d", name, n)
		}
	}
	list, err := rlp.Decode(unhex(t, "c3010203"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := list.Items(2); err == nil {
		t.Error("three items within a limit of two")
	}
	if _, err := list.Bytes(-1); err == nil {
		t.Error("a list is a string")
	}
	for _, bad := range []string{"c281ff00", "c2b838"} { // an item ends beyond its list
		if it, err := rlp.Decode(unhex(t, bad)); err == nil {
			if _, err := it.Items(5); err == nil {
				t.Errorf("%s opens", bad)
			}
		}
	}
}

// Every value that is written is read again as it was.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 20).Draw(t, "parts")
		n := rapid.Uint64().Draw(t, "n")
		var body []byte
		for _, p := range parts {
			body = rlp.AppendBytes(body, p)
		}
		it, err := rlp.Decode(rlp.AppendList(nil, rlp.AppendUint(body, n)))
		if err != nil {
			t.Fatal(err)
		}
		items, err := it.Items(len(parts) + 1)
		if err != nil || len(items) != len(parts)+1 {
			t.Fatal(len(items), err)
		}
		for i, p := range parts {
			if b, err := items[i].Bytes(len(p)); err != nil || !bytes.Equal(b, p) {
				t.Fatal(b, err)
			}
		}
		if got, err := items[len(parts)].Uint(); err != nil || got != n {
			t.Fatal(got, err)
		}
	})
}

// rewrite encodes a value again from what was read, opening lists to a depth.
func rewrite(it rlp.Item, depth int) ([]byte, error) {
	if !it.List {
		return rlp.AppendBytes(nil, it.Body), nil
	}
	if depth == 0 {
		return it.Raw, nil
	}
	items, err := it.Items(1 << 16)
	if err != nil {
		return nil, err
	}
	var body []byte
	for _, i := range items {
		b, err := rewrite(i, depth-1)
		if err != nil {
			return nil, err
		}
		body = append(body, b...)
	}
	return rlp.AppendList(nil, body), nil
}

// FuzzDecode: what is accepted has exactly one encoding.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"83646f67", "c88363617483646f67", "c7c0c1c0c3c0c1c0", "80", "c0", "817f", "f803010203", "bfffffffffffffffff", "b838" + strings.Repeat("61", 56)} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := rlp.Decode(b)
		if err != nil {
			return
		}
		again, err := rewrite(it, 16)
		if err == nil && !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x", b, again)
		}
		_, _ = it.Uint()
	})
}
