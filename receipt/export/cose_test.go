package export

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/test/peers"
)

// Every receipt of a bundle becomes a COSE receipt that holds for its own entry and no other.
func TestCOSE(t *testing.T) {
	d := newDomain(t)
	d.halts(12)
	bundle, trust := d.bundle()
	out, err := COSE(bundle, trust, d.log)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 13 {
		t.Fatalf("%d receipts", len(out))
	}
	public := d.log.Public().(ed25519.PublicKey)
	for i, r := range out {
		in, err := OpenInclusion(r.COSE, d.Envelopes[i], public)
		if err != nil || in.Index != uint64(i) || in.Size != 13 || in.Origin != origin || !bytes.Equal(r.Envelope, d.Envelopes[i]) {
			t.Fatalf("%+v %v", in, err)
		}
		if _, err := OpenInclusion(r.COSE, d.Envelopes[(i+1)%13], public); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("another entry: %v", err)
		}
		if _, err := OpenInclusion(r.COSE, d.Envelopes[i], d.key.Pub()); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("another key: %v", err)
		}
	}
	if again, err := COSE(bundle, trust, d.log); err != nil || !bytes.Equal(again[5].COSE, out[5].COSE) {
		t.Errorf("the same input gives other bytes: %v", err)
	}
	t.Logf("%d bytes: %x", len(out[5].COSE), out[5].COSE)
	if _, err := COSE(bundle, trust, d.key.PrivateKey); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Errorf("a key that is not the log's: %v", err)
	}
	bad := bytes.Clone(bundle)
	bad[len(bad)/2] ^= 1
	if _, err := COSE(bad, trust, d.log); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("a bundle that is refused: %v", err)
	}
	one := newDomain(t)
	bundle, trust = one.bundle()
	if _, err := COSE(bundle, trust, one.log); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("a log of one entry: %v", err)
	}
}

// No byte of a COSE receipt can be changed: neither what is signed, nor the proof, nor its spelling.
func TestEveryByte(t *testing.T) {
	d := newDomain(t)
	d.halts(8)
	bundle, trust := d.bundle()
	out, err := COSE(bundle, trust, d.log)
	if err != nil {
		t.Fatal(err)
	}
	public := d.log.Public().(ed25519.PublicKey)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	text := out[5].COSE
	for i := range text {
		for range 4 {
			bad := bytes.Clone(text)
			bad[i] ^= byte(1 + rng.IntN(255))
			if in, err := OpenInclusion(bad, d.Envelopes[5], public); err == nil {
				t.Fatalf("byte %d, %02x as %02x, is accepted: %+v", i, text[i], bad[i], in)
			}
		}
	}
	if _, err := OpenInclusion(append(bytes.Clone(text), 0), d.Envelopes[5], public); err == nil {
		t.Error("trailing data is accepted")
	}
	if _, err := OpenInclusion(make([]byte, MaxCOSE+1), d.Envelopes[5], public); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Error(err)
	}
}

// What RFC 9942 leaves unsigned cannot be changed either: the size of the tree, where trees of two sizes lead to one root by
// the same path, and the spelling of the CBOR.
func TestUnsignedParts(t *testing.T) {
	d := newDomain(t)
	d.halts(3)
	bundle, trust := d.bundle()
	out, err := COSE(bundle, trust, d.log)
	if err != nil {
		t.Fatal(err)
	}
	public := d.log.Public().(ed25519.PublicKey)
	root, err := OpenInclusion(out[0].COSE, d.Envelopes[0], public)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2][]byte{
		"three entries instead of four": {{0x83, 0x04, 0x00, 0x82}, {0x83, 0x03, 0x00, 0x82}},
		"a longer spelling of a label":  {{0xa1, 0x19, 0x01, 0x8c}, {0xa1, 0x1a, 0x00, 0x00, 0x01, 0x8c}},
		"an attached payload":           {{0xf6, 0x58, 0x40}, append(append([]byte{0x58, 0x20}, root.Root[:]...), 0x58, 0x40)},
	} {
		if bytes.Count(out[0].COSE, change[0]) != 1 {
			t.Fatalf("%s: %x is not in %x once", name, change[0], out[0].COSE)
		}
		if in, err := OpenInclusion(bytes.Replace(out[0].COSE, change[0], change[1], 1), d.Envelopes[0], public); vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%s: %+v %v", name, in, err)
		}
	}
}

// A root that the entry does not lead to is never signed.
func TestSignsNoOtherRoot(t *testing.T) {
	d := newDomain(t)
	in := Inclusion{Origin: origin, Size: 2, Index: 0, Path: []vaultmesh.Digest{{1}}, Root: vaultmesh.Digest{2}}
	if _, err := SignInclusion(d.log, d.Envelopes[0], in); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Error(err)
	}
	for name, change := range map[string]func(*Inclusion){
		"no origin":     func(in *Inclusion) { in.Origin = "" },
		"beyond":        func(in *Inclusion) { in.Index = 2 },
		"no path":       func(in *Inclusion) { in.Path = nil },
		"too long path": func(in *Inclusion) { in.Path = make([]vaultmesh.Digest, 65) },
		"wrong length":  func(in *Inclusion) { in.Path = make([]vaultmesh.Digest, 3) },
	} {
		bad := in
		change(&bad)
		if _, err := SignInclusion(d.log, d.Envelopes[0], bad); err == nil {
			t.Errorf("%s is signed", name)
		}
	}
}

// decoder in JavaScript, written from RFC 8949, RFC 9052 and RFC 9942 with nothing but Node's own modules.
const script = `
const { createHash, createPublicKey, verify } = require('node:crypto');
const { readFileSync } = require('node:fs');
const [file, entryFile, key, origin] = process.argv.slice(2);
function decode(b, p) {
  const major = b[p] >> 5, info = b[p] & 31; p++;
  let n = info;
  if (info >= 24 && info <= 27) { const w = 1 << (info - 24); n = 0; for (let i = 0; i < w; i++) n = n * 256 + b[p++]; } else if (info > 27) throw new Error('length');
  switch (major) {
    case 0: return [n, p];
    case 1: return [-1 - n, p];
    case 2: return [b.subarray(p, p + n), p + n];
    case 3: return [b.subarray(p, p + n).toString('utf8'), p + n];
    case 4: { const a = []; for (let i = 0; i < n; i++) { let v; [v, p] = decode(b, p); a.push(v); } return [a, p]; }
    case 5: { const m = new Map(); for (let i = 0; i < n; i++) { let k, v; [k, p] = decode(b, p); [v, p] = decode(b, p); m.set(k, v); } return [m, p]; }
    case 6: { let v; [v, p] = decode(b, p); return [{ tag: n, value: v }, p]; }
    default: if (info === 22) return [null, p]; throw new Error('simple value');
  }
}
const sha = (...parts) => { const h = createHash('sha256'); parts.forEach(x => h.update(x)); return h.digest(); };
const text = readFileSync(file);
const [top, end] = decode(text, 0);
if (end !== text.length || top.tag !== 18) throw new Error('not a tagged COSE_Sign1');
const [protectedBytes, unprotectedHeader, payload, signature] = top.value;
if (payload !== null) throw new Error('payload');
const [header] = decode(protectedBytes, 0);
if (header.get(1) !== -8 || header.get(395) !== 1) throw new Error('alg or vds');
if (header.get(15).get(1) !== origin) throw new Error('origin');
const proofs = unprotectedHeader.get(396).get(-1);
const [[size, index, path]] = decode(proofs[0], 0);
if (header.get(15).get(2) !== 'checkpoint/' + size) throw new Error('size');
// RFC 9162 section 2.1.3.2
if (index >= size) throw new Error('index');
let fn = index, sn = size - 1, r = sha(Buffer.from([0]), readFileSync(entryFile));
for (const h of path) {
  if (sn === 0) throw new Error('path too long');
  if (fn % 2 === 1 || fn === sn) {
    r = sha(Buffer.from([1]), h, r);
    while (fn % 2 === 0 && fn !== 0) { fn = Math.floor(fn / 2); sn = Math.floor(sn / 2); }
  } else r = sha(Buffer.from([1]), r, h);
  fn = Math.floor(fn / 2); sn = Math.floor(sn / 2);
}
if (sn !== 0) throw new Error('path too short');
const bstr = b => Buffer.concat([b.length < 24 ? Buffer.from([0x40 | b.length]) : b.length < 256 ? Buffer.from([0x58, b.length]) : Buffer.from([0x59, b.length >> 8, b.length & 255]), b]);
const structure = Buffer.concat([Buffer.from([0x84, 0x6a]), Buffer.from('Signature1'), bstr(protectedBytes), bstr(Buffer.alloc(0)), bstr(r)]);
const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(key, 'hex')]);
if (!verify(null, structure, createPublicKey({ key: der, format: 'der', type: 'spki' }), signature)) throw new Error('signature');
console.log('verified ' + index + ' of ' + size);
`

// A foreign decoder and verifier accepts the receipts, and refuses them with any part tampered with.
func TestIndependent(t *testing.T) {
	node := peers.Tool(t, "nodejs", "node")
	d := newDomain(t)
	d.halts(40)
	bundle, trust := d.bundle()
	out, err := COSE(bundle, trust, d.log)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	js := write("verify.cjs", []byte(script))
	public := hex.EncodeToString(d.log.Public().(ed25519.PublicKey))
	run := func(cose, entry []byte, key string) string {
		b, _ := exec.CommandContext(t.Context(), node, js, write("cose", cose), write("entry", entry), key, origin).CombinedOutput()
		return strings.TrimSpace(string(b))
	}
	for _, i := range []int{0, 17, 40} {
		if got, want := run(out[i].COSE, out[i].Envelope, public), "verified "+strconv.Itoa(i)+" of 41"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	flip := func(b []byte, i int) []byte { c := bytes.Clone(b); c[i] ^= 1; return c }
	good := out[17].COSE
	for name, got := range map[string]string{
		"entry":     run(good, out[16].Envelope, public),
		"signature": run(flip(good, len(good)-1), out[17].Envelope, public),
		"path":      run(flip(good, len(good)-80), out[17].Envelope, public),
		"header":    run(flip(good, 20), out[17].Envelope, public),
		"key":       run(good, out[17].Envelope, hex.EncodeToString(d.key.Pub())),
	} {
		if strings.HasPrefix(got, "verified") {
			t.Errorf("another %s: %s", name, got)
		}
	}
}

// FuzzOpenInclusion: nothing panics, and nothing but what was signed is accepted.
func FuzzOpenInclusion(f *testing.F) {
	d := newDomain(f)
	d.halts(6)
	bundle, trust := d.bundle()
	out, err := COSE(bundle, trust, d.log)
	if err != nil {
		f.Fatal(err)
	}
	public := d.log.Public().(ed25519.PublicKey)
	for _, r := range out {
		f.Add(r.COSE)
	}
	f.Add([]byte{0xd2, 0x84, 0x40, 0xa0, 0xf6, 0x40})
	f.Fuzz(func(t *testing.T, b []byte) {
		if in, err := OpenInclusion(b, d.Envelopes[3], public); err == nil && (!bytes.Equal(b, out[3].COSE) || in.Index != 3) {
			t.Fatalf("%x is accepted: %+v", b, in)
		}
	})
}
