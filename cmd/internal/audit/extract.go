package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/bitcoin"
	"vaultmesh.org/vaultmesh/receipt"
)

// tools are scripts that check parts with programs of others, and the text that says how.
//
//go:embed tools
var tools embed.FS

// Extract writes a bundle's parts as files under dir, and beside them what foreign tools need of them: the exact bytes
// that were signed and stamped, raw signatures, the pinned keys as PEM and DER, .ots files, scripts, and README.txt with
// the commands for these very files. With a nil trust there are no keys, and README.txt says so. It verifies nothing. The
// names of a decoded bundle's parts are local paths. A folder that holds anything is a Conflict.
func Extract(b *receipt.Bundle, t *receipt.Trust, dir string) error {
	if err := CheckEmpty(dir); err != nil {
		return err
	}
	x := &extraction{dir: dir, trust: t, written: map[string]bool{}}
	for _, p := range b.Parts {
		x.write(p.Name, p.Data)
		switch p.Type {
		case receipt.PartCheckpoint, receipt.PartAnchored:
			x.checkpoint(p.Name, p.Data)
		case receipt.PartReceipt:
			x.envelope(p.Name, p.Data)
		case receipt.PartBitcoin:
			if ots, err := bitcoin.OTS(p.Data); err == nil {
				x.write(strings.TrimSuffix(p.Name, ".json")+".ots", ots)
			}
		}
	}
	x.write("manifest.message", b.SignedManifest())
	x.write("manifest.sig", b.Signature)
	x.write("manifest.keyid", []byte(b.KeyID+"\n"))
	x.keys()
	entries, err := tools.ReadDir("tools")
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := tools.ReadFile("tools/" + e.Name())
		if err != nil {
			return err
		}
		if e.Name() == "README.txt" {
			x.readme(b, string(data))
		} else {
			x.write("tools/"+e.Name(), data)
		}
	}
	return x.err
}

// NoKeys warns who extracts without a trust file.
const NoKeys = "no --trust, so there is no folder keys/: README.txt has no commands for signatures and time-stamps"

// CheckEmpty refuses a folder that holds anything, since two bundles in one folder are evidence of neither. It may be absent.
func CheckEmpty(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var names []string
	if err == nil {
		names, err = f.Readdirnames(1)
		_ = f.Close()
	}
	if len(names) > 0 {
		return vaultmesh.Errorf(vaultmesh.Conflict, "extract", dir, "it is not empty").WithFix("extract into a new folder")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return vaultmesh.Errorf(vaultmesh.Invalid, "extract", dir, "cannot be used as a folder").Because(err).WithFix("extract into a new folder")
	}
	return nil
}

// extraction writes files and keeps the first error.
type extraction struct {
	dir     string
	trust   *receipt.Trust
	written map[string]bool // by name
	listed  []string        // keys
	err     error
}

func (x *extraction) write(name string, data []byte) {
	if x.err != nil {
		return
	}
	if !filepath.IsLocal(name) {
		x.err = vaultmesh.Errorf(vaultmesh.Invalid, "extract", name, "not a local name")
		return
	}
	path := filepath.Join(x.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		x.err = vaultmesh.Errorf(vaultmesh.Unavailable, "extract", path, "cannot create the folder").Because(err)
	} else if err := os.WriteFile(path, data, 0o644); err != nil {
		x.err = vaultmesh.Errorf(vaultmesh.Unavailable, "extract", path, "cannot write").Because(err)
	}
	x.written[name] = true
}

// checkpoint writes the body of a signed note and, of each signature line, the message and the raw signature.
func (x *extraction) checkpoint(name string, note []byte) {
	body, err := receipt.CheckpointBody(note)
	if err != nil {
		return // the verifier says what is wrong with it
	}
	x.write(name+".body", body)
	for line := range strings.Lines(string(note[len(body)+1:])) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		sig, err := base64.StdEncoding.DecodeString(fields[2])
		switch {
		case err != nil || len(sig) < 4:
		case len(sig) == 4+ed25519.SignatureSize: // ed25519 over the body: the log
			x.write(fmt.Sprintf("%s.%08x.sig", name, binary.BigEndian.Uint32(sig)), sig[4:])
		case len(sig) == 4+8+ed25519.SignatureSize: // cosignature/v1: a witness
			file := fmt.Sprintf("%s.%08x.cosig", name, binary.BigEndian.Uint32(sig))
			at := binary.BigEndian.Uint64(sig[4:])
			x.write(file, sig[12:])
			x.write(file+".message", append([]byte("cosignature/v1\ntime "+strconv.FormatUint(at, 10)+"\n"), body...))
		}
	}
}

// envelope writes what a receipt's own signature is over, and the signature.
func (x *extraction) envelope(name string, data []byte) {
	r, err := receipt.Open(data)
	if err != nil || !r.Signed() {
		return
	}
	stem := strings.TrimSuffix(name, ".dsse.json")
	x.write(stem+".message", r.Message())
	x.write(stem+".sig", r.Signature)
}

// keys writes the pinned keys, and a list that says up to where each counts.
func (x *extraction) keys() {
	if x.trust == nil {
		return
	}
	defer x.listKeys()
	for _, text := range append([]string{x.trust.Log.Key}, x.trust.LogKeys...) {
		x.verifierKey("log", text)
	}
	for _, k := range x.trust.ReceiptKeys {
		x.key("receipt-"+strings.TrimPrefix(k.ID, "ed25519:"), k.Public)
	}
	for _, o := range x.trust.Operators {
		x.key("operator-"+strings.TrimPrefix(receipt.KeyID(o.Public), "ed25519:"), o.Public)
	}
	if len(x.trust.TSARoots) > 0 {
		x.write("keys/tsa-roots.pem", []byte(strings.Join(x.trust.TSARoots, "\n")))
	}
	if x.trust.WitnessPolicy != "" {
		p, err := receipt.ParseWitnessPolicy([]byte(x.trust.WitnessPolicy))
		if err != nil {
			return
		}
		x.write("keys/witness-policy", []byte(x.trust.WitnessPolicy))
		for line := range strings.Lines(x.trust.WitnessPolicy) {
			if f := strings.Fields(line); len(f) >= 3 && f[0] == "witness" {
				for _, w := range p.Witnesses {
					if w.Name == f[1] {
						x.witnessKey(w, f[2])
					}
				}
			}
		}
	}
}

// verifierKey writes an ed25519 key of a signed note by its key hash, which signature lines name.
func (x *extraction) verifierKey(kind, text string) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return
	}
	if raw, err := base64.StdEncoding.DecodeString(parts[2]); err == nil && len(raw) == 33 && raw[0] == 1 {
		x.key(kind+"-"+parts[1], raw[1:])
	}
}

func (x *extraction) witnessKey(w receipt.PolicyWitness, text string) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return
	}
	if raw, err := base64.StdEncoding.DecodeString(parts[2]); err == nil && len(raw) == 33 && (raw[0] == 1 || raw[0] == 4) {
		x.key(fmt.Sprintf("witness-%08x", w.Verifier.KeyHash()), raw[1:])
	}
}

// until says up to where a pinned key counts; no foreign tool looks at that.
func (x *extraction) until(id string) string {
	for _, r := range x.trust.Retired {
		if r.ID == id {
			return fmt.Sprintf("until %d: retired at that index; it may sign no receipt from there on, and no checkpoint of a larger log", r.Until)
		}
	}
	return "no end"
}

func (x *extraction) listKeys() {
	slices.Sort(x.listed)
	x.write("keys/list.txt", []byte(strings.Join(append(x.listed, ""), "\n")))
}

func (x *extraction) key(name string, public []byte) {
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(bytes.Clone(public)))
	if err != nil {
		return
	}
	x.listed = append(x.listed, fmt.Sprintf("%-45s %s %s", name+".pem", receipt.KeyID(public), x.until(receipt.KeyID(public))))
	x.write("keys/"+name+".der", der)
	x.write("keys/"+name+".pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}
