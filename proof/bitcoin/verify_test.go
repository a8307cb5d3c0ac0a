package bitcoin

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
)

func TestVerify(t *testing.T) {
	p := good(t)
	raw := encode(t, p)
	r, err := Verify(raw, digest, Params{Network: Regtest})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Time.Equal(blockTime) || r.Height != p.Height || r.Confirmations != 6 || r.Block != p.Header.Hash() || r.Tx != Sum2(p.Tx) || r.Pinned {
		t.Errorf("result %+v", r)
	}
	if r, err = Verify(raw, digest, pinTip(p)); err != nil || !r.Pinned {
		t.Errorf("by the pinned tip: %+v, %v", r, err)
	}
	again, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encode(t, again), raw) {
		t.Error("the text form is not stable")
	}
}

// TestEveryByte changes each byte of a proof in several ways: none of the results holds under a pinned tip.
func TestEveryByte(t *testing.T) {
	p := good(t)
	raw, trust := encode(t, p), pinTip(p)
	for i := range raw {
		for _, by := range []byte{1, 2, 4, 8, 0x20} {
			bad := bytes.Clone(raw)
			bad[i] ^= by
			if r, err := Verify(bad, digest, trust); err == nil {
				t.Fatalf("byte %d, %q for %q: accepted, %+v", i, bad[i], raw[i], r)
			}
		}
	}
	for n := range raw {
		if _, err := Verify(raw[:n], digest, trust); err == nil {
			t.Fatalf("cut to %d bytes: accepted", n)
		}
	}
}

func TestRefused(t *testing.T) {
	plain := Params{Network: Regtest}
	script := Script(digest)
	for _, c := range []struct {
		name  string
		kind  vaultmesh.Kind
		want  string
		trust Params
		make  func() *Proof
	}{
		{"another digest", vaultmesh.Corrupt, "commits to", plain, func() *Proof {
			return proofOf(t, rawTx(Script(vaultmesh.Sum([]byte("other")))), 3, 1, 5)
		}},
		{"no OP_RETURN", vaultmesh.Corrupt, "no OP_RETURN", plain, func() *Proof { return proofOf(t, rawTx(change, script[1:]), 3, 1, 5) }},
		{"two commitments", vaultmesh.Corrupt, "more than one", plain, func() *Proof { return proofOf(t, rawTx(script, script), 3, 1, 5) }},
		{"longer commitment", vaultmesh.Corrupt, "not a digest", plain, func() *Proof { return proofOf(t, rawTx(append(slices.Clone(script), 0)), 3, 1, 5) }},
		{"digest pushed otherwise", vaultmesh.Corrupt, "not a digest", plain, func() *Proof {
			return proofOf(t, rawTx(append([]byte{opReturn, 0x4c, 32}, digest[:]...)), 3, 1, 5)
		}},
		{"trailing byte in the transaction", vaultmesh.Invalid, "not a transaction", plain, func() *Proof { return proofOf(t, append(rawTx(script), 0), 3, 1, 5) }},
		{"with witness", vaultmesh.Invalid, "not a transaction", plain, func() *Proof {
			raw := rawTx(script)
			return proofOf(t, slices.Concat(raw[:4], []byte{0, 1}, raw[4:]), 3, 1, 5)
		}},
		{"64 bytes", vaultmesh.Corrupt, "64 bytes", plain, func() *Proof { return proofOf(t, tx64(), 3, 1, 5) }},
		{"another index", vaultmesh.Corrupt, "the branch leads to", plain, func() *Proof { p := good(t); p.Index ^= 2; return p }},
		{"index outside", vaultmesh.Invalid, "outside of a tree", plain, func() *Proof { p := good(t); p.Index |= 32; return p }},
		{"branch shortened", vaultmesh.Corrupt, "the branch leads to", plain, func() *Proof { p := good(t); p.Branch, p.Index = p.Branch[:4], p.Index&15; return p }},
		{"no work", vaultmesh.Corrupt, "no proof of work", plain, func() *Proof {
			p := good(t)
			p.Header = mine(Hash{7}, p.Header.Root(), blockTime, false)
			p.Following = nil
			return p
		}},
		{"easier than trusted", vaultmesh.Denied, "easier than", Params{Network: Regtest, MaxBits: 0x1f7fffff}, func() *Proof { return good(t) }},
		{"a header is missing", vaultmesh.Corrupt, "does not follow", plain, func() *Proof {
			p := good(t)
			p.Following = slices.Delete(p.Following, 2, 3)
			return p
		}},
		{"headers exchanged", vaultmesh.Corrupt, "does not follow", plain, func() *Proof {
			p := good(t)
			p.Following[3], p.Following[4] = p.Following[4], p.Following[3]
			return p
		}},
		{"too few confirmations", vaultmesh.Denied, "5 confirmations, 6 are wanted", plain, func() *Proof { return proofOf(t, rawTx(script), 3, 1, 4) }},
		{"another network", vaultmesh.Denied, "what is trusted is mainnet", Params{Network: Mainnet}, func() *Proof { return good(t) }},
		{"regtest blocks under mainnet's name", vaultmesh.Denied, "easier than", Params{Network: Mainnet}, func() *Proof { p := good(t); p.Network = Mainnet; return p }},
		{"not pinned", vaultmesh.Denied, "no header of the proof is a pinned", Params{Network: Regtest, PinnedOnly: true, Blocks: []Block{{Hash: strings.Repeat("0", 64)}}}, func() *Proof { return good(t) }},
		{"pinned at another height", vaultmesh.Corrupt, "pinned at height", pinTip(good(t)), func() *Proof { p := good(t); p.Height++; return p }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Verify(encode(t, c.make()), digest, c.trust)
			if vaultmesh.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want kind %s and %q", err, c.kind, c.want)
			}
		})
	}
}

func TestNotCanonical(t *testing.T) {
	raw := string(encode(t, good(t)))
	for name, bad := range map[string]string{
		"white space":     strings.Replace(raw, ":", ": ", 1),
		"trailing data":   raw + "{}",
		"trailing line":   raw + "\n",
		"order":           strings.Replace(raw, `"index":13,"network":"regtest"`, `"network":"regtest","index":13`, 1),
		"repeated member": strings.Replace(raw, `"index":13`, `"index":13,"index":13`, 1),
		"unknown member":  strings.Replace(raw, `"index":13`, `"index":13,"indez":13`, 1),
		"missing member":  strings.Replace(raw, `"index":13,`, "", 1),
		"other spelling":  strings.Replace(raw, `"index"`, `"Index"`, 1),
		"capital digits":  strings.ToUpper(raw[:40]) + raw[40:],
		"null":            strings.Replace(raw, `"index":13`, `"index":null`, 1),
		"negative":        strings.Replace(raw, `"index":13`, `"index":-13`, 1),
		"fraction":        strings.Replace(raw, `"index":13`, `"index":13.0`, 1),
		"another format":  strings.Replace(raw, `/v1"`, `/v2"`, 1),
		"another network": strings.Replace(raw, `"regtest"`, `"simnet"`, 1),
		"huge height":     strings.Replace(raw, `800000`, `9999999999`, 1),
		"deep":            strings.Repeat("[", 100_000),
		"empty":           "",
	} {
		if _, err := Decode([]byte(bad)); vaultmesh.KindOf(err) != vaultmesh.Invalid || bad == raw {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Decode(make([]byte, MaxProof+1)); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Errorf("too large: %v", err)
	}
}

func TestLargestProofFits(t *testing.T) {
	p := &Proof{Branch: make([]Hash, MaxBranch), Following: make([]Header, MaxFollowing), Height: 1<<31 - 1, Index: 1<<20 - 1, Network: Testnet4, Tx: make([]byte, MaxTx)}
	raw := encode(t, p)
	if _, err := Decode(raw); err != nil || len(raw) > MaxProof {
		t.Errorf("%d bytes: %v", len(raw), err)
	}
	p.Following = append(p.Following, Header{})
	if _, err := p.Encode(); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Errorf("one header more: %v", err)
	}
}

func TestParams(t *testing.T) {
	for text, want := range map[string]string{
		`{"network":"mainnet"}`: "",
		`{"network":"mainnet","max_bits":"1702a8b0","confirmations":3,"blocks":[{"hash":"00000000000000000000000000000000000000000000000000000000000000ff","height":3}],"pinned_only":true}`: "",
		`{"network":"btc"}`: "the networks are",
		`{}`:                "the networks are",
		`{"network":"mainnet","max_bits":"ff02a8b0"}`:    "compact form",
		`{"network":"mainnet","max_bits":"1782a8b0"}`:    "compact form",
		`{"network":"mainnet","max_bits":"1700000"}`:     "8 lower-case",
		`{"network":"mainnet","confirmations":-1}`:       "confirmations",
		`{"network":"mainnet","confirmations":2018}`:     "confirmations",
		`{"network":"mainnet","pinned_only":true}`:       "no block is pinned",
		`{"network":"mainnet","blocks":[{"hash":"ab"}]}`: "64 lower-case",
	} {
		var p Params
		err := json.Unmarshal([]byte(text), &p)
		if err == nil {
			err = p.Check()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
