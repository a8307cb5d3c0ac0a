package crdt

import (
	"bytes"
	"encoding/hex"
	"math"
	"testing"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
)

// genRegister draws from few stamps and values, so that ties are common.
func genRegister(t *rapid.T, label string) Register {
	if rapid.IntRange(0, 9).Draw(t, label+" unset") == 0 {
		return Register{}
	}
	return Register{
		Stamp: Stamp{
			Wall:    rapid.SampledFrom([]int64{math.MinInt64, -1, 0, 1, 2, math.MaxInt64}).Draw(t, label+" wall"),
			Counter: rapid.SampledFrom([]uint16{0, 1, math.MaxUint16}).Draw(t, label+" counter"),
			Node:    rapid.SampledFrom([]string{"a", "ab", "b"}).Draw(t, label+" node"),
		},
		Value: []byte(rapid.SampledFrom([]string{"", "0", "1", "10"}).Draw(t, label+" value")),
	}
}

func merged(a, b Register) Register {
	a.Merge(&b)
	return a
}

func same(a, b Register) bool { return a.Stamp == b.Stamp && bytes.Equal(a.Value, b.Value) }

func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genRegister(t, "a"), genRegister(t, "b"), genRegister(t, "c")
		if !same(merged(a, b), merged(b, a)) {
			t.Fatal("not commutative")
		}
		if !same(merged(merged(a, b), c), merged(a, merged(b, c))) {
			t.Fatal("not associative")
		}
		if !same(merged(a, a), a) {
			t.Fatal("not idempotent")
		}
		m := merged(a, b)
		if m.Compare(&a) < 0 || m.Compare(&b) < 0 {
			t.Fatal("not monotonic")
		}
		before := a
		if changed := a.Merge(&b); changed == same(before, a) {
			t.Fatalf("reported changed=%v", changed)
		}
	})
}

func TestCompareIsATotalOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genRegister(t, "a"), genRegister(t, "b"), genRegister(t, "c")
		if a.Compare(&b) != -b.Compare(&a) {
			t.Fatal("not antisymmetric")
		}
		if a.Compare(&b) <= 0 && b.Compare(&c) <= 0 && a.Compare(&c) > 0 {
			t.Fatal("not transitive")
		}
		if (a.Compare(&b) == 0) != same(a, b) {
			t.Fatal("equal in order but not in content")
		}
	})
}

func TestTiesAreDecidedByCounterNodeAndBytes(t *testing.T) {
	low := Register{Stamp{5, 1, "a"}, []byte("z")}
	for _, high := range []Register{
		{Stamp{6, 0, "a"}, []byte("a")},
		{Stamp{5, 2, "a"}, []byte("a")},
		{Stamp{5, 1, "b"}, []byte("a")},
		{Stamp{5, 1, "a"}, []byte("zz")},
	} {
		if got := merged(low, high); !same(got, high) {
			t.Errorf("%v against %v: got %v", low, high, got)
		}
	}
}

// Replicas exchange deltas over a network that loses, doubles and reorders them, and then their whole state once.
func TestReplicasConverge(t *testing.T) {
	type delta struct {
		to   int
		name string
		reg  Register
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 7).Draw(t, "replicas")
		replicas := make([]map[string]Register, n)
		for i := range replicas {
			replicas[i] = map[string]Register{}
		}
		merge := func(to int, name string, r Register) {
			have := replicas[to][name]
			have.Merge(&r)
			replicas[to][name] = have
		}
		best := map[string]Register{}
		var wire []delta
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(wire) > 0 && rapid.Bool().Draw(t, "deliver") {
				i := rapid.IntRange(0, len(wire)-1).Draw(t, "which")
				d := wire[i]
				switch rapid.IntRange(0, 3).Draw(t, "fate") {
				case 0: // lost
					wire = append(wire[:i], wire[i+1:]...)
				case 1: // delivered, and delivered again later
					merge(d.to, d.name, d.reg)
				default:
					wire = append(wire[:i], wire[i+1:]...)
					merge(d.to, d.name, d.reg)
				}
				continue
			}
			at := rapid.IntRange(0, n-1).Draw(t, "at")
			name := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "name")
			r := genRegister(t, "write")
			merge(at, name, r)
			b := best[name]
			b.Merge(&r)
			best[name] = b
			for to := range n {
				wire = append(wire, delta{to, name, r})
			}
		}
		for from := range n {
			for to := range n {
				for name, r := range replicas[from] {
					merge(to, name, r)
				}
			}
		}
		var want Digest
		for name, r := range best {
			want.Toggle(name, &r)
		}
		for i := range replicas {
			var got Digest
			for name, r := range replicas[i] {
				if b := best[name]; !same(r, b) {
					t.Fatalf("replica %d has %s = %v, want %v", i, name, r, b)
				}
				got.Toggle(name, &r)
			}
			if got != want {
				t.Fatalf("replica %d has another digest", i)
			}
		}
	})
}

func TestRegisterGoldenVectors(t *testing.T) {
	for _, c := range []struct {
		reg Register
		hex string
	}{
		{Register{Stamp{0, 0, "n"}, nil}, "8000000000000000" + "0000" + "01" + "6e" + "00"},
		{Register{Stamp{-1, 0xffff, "sub-8"}, []byte("1.01")}, "7fffffffffffffff" + "ffff" + "05" + "7375622d38" + "04" + "312e3031"},
		{Register{Stamp{1767323045123456, 7, "sub-8"}, []byte("true")}, "8006475ef64ed580" + "0007" + "05" + "7375622d38" + "04" + "74727565"},
	} {
		if got := hex.EncodeToString(c.reg.Append(nil)); got != c.hex {
			t.Errorf("%v: encoded as %s, want %s", c.reg.Stamp, got, c.hex)
		}
		raw, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		got, rest, err := DecodeRegister(append(raw, 0xAA))
		if err != nil || len(rest) != 1 || !same(got, c.reg) {
			t.Errorf("decoded %v, %d bytes left, %v", got, len(rest), err)
		}
	}
}

func TestDigestGoldenVectorAndOrder(t *testing.T) {
	a, b := Register{Stamp{1, 0, "n"}, []byte("1")}, Register{Stamp{2, 0, "n"}, []byte("2")}
	var d, e Digest
	d.Toggle("a", &a)
	d.Toggle("b", &b)
	e.Toggle("b", &b)
	e.Toggle("a", &a)
	if d != e {
		t.Fatal("depends on the order")
	}
	const want = "63eaa97f28cd55e87d6ddc633f56d20b68a4c6d7d18353e5f671053c3749a30e"
	if got := hex.EncodeToString(d[:]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	d.Toggle("a", &a)
	e = Digest{}
	e.Toggle("b", &b)
	if d != e {
		t.Error("taking out is not the inverse of adding")
	}
	e.Toggle("never", &Register{})
	if d != e {
		t.Error("a register that was never written counts")
	}
}

func TestDecodersRefuse(t *testing.T) {
	good := (&Register{Stamp{1, 2, "node"}, []byte("value")}).Append(nil)
	for n := range good {
		if _, _, err := DecodeRegister(good[:n]); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	for name, b := range map[string][]byte{
		"no node":        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"node too long":  append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 129}, make([]byte, 200)...),
		"long varint":    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'a', 0x80, 0x00},
		"value too long": {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'a', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
	} {
		if _, _, err := DecodeRegister(b); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeRegister(f *testing.F) {
	f.Add((&Register{Stamp{1, 2, "node"}, []byte("value")}).Append(nil))
	f.Add((&Register{Stamp{-1, 0, "n"}, nil}).Append(nil))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'a', 0x80, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rest, err := DecodeRegister(b)
		if err != nil {
			return
		}
		if again := r.Append(nil); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%x decodes and encodes as %x", b, again)
		}
	})
}

func BenchmarkRegisterMerge(b *testing.B) {
	a := Register{Stamp{1, 0, "node"}, []byte("1.01")}
	n := Register{Stamp{1, 0, "node"}, []byte("1.02")}
	b.ReportAllocs()
	for b.Loop() {
		n.Stamp.Wall++
		a.Merge(&n)
	}
}
