package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal/durable"
	"vaultmesh.org/vaultmesh/receipt"
)

// keys are the domain's own. Each has its file below <data>/keys, readable by the owner alone, and one purpose.
type keys struct {
	receipts   ed25519.PrivateKey // decisions and manifests of bundles
	capability ed25519.PrivateKey // root of capabilities
	log        note.Signer        // checkpoints: the newest
	logVerify  note.Verifier
	logKey     string // verifier key text

	held    []heldKey     // every file
	signers []note.Signer // of checkpoints, oldest first; several while a rotation overlaps
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// keysComplete refuses a data folder that has a journal and lacks a key: a new key in the place of a lost one would go
// on where nobody can trust it. The keys are made before the journal, so that a first start that is cut short passes.
// Whether the files hold the keys with which the log goes on is known once the log is open: see [keys.follow].
func keysComplete(data string) error {
	if _, err := os.Stat(filepath.Join(data, "journal")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, purpose := range purposes {
		files, err := keyFiles(filepath.Join(data, "keys"), purpose)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return vaultmesh.Errorf(vaultmesh.Corrupt, "keys.open", filepath.Join(data, "keys", purpose+".key"), "the data folder has a journal, and this key of it is missing").WithFix("restore the key from a backup; without it the domain cannot go on")
		}
	}
	return nil
}

// heldKeys loads the keys that are there and makes none.
func heldKeys(dir string, domain vaultmesh.Domain) (*keys, error) {
	k := &keys{}
	for _, purpose := range purposes {
		files, err := keyFiles(dir, purpose)
		if err != nil {
			return nil, err
		}
		for _, path := range files {
			h, err := openKey(path, purpose, domain)
			if err != nil {
				return nil, err
			}
			k.held = append(k.held, h)
			k.use(h)
		}
	}
	return k, nil
}

// openKeys loads the keys, or makes them where the folder has none for a purpose.
func openKeys(dir string, domain vaultmesh.Domain) (*keys, error) {
	if err := durable.Folder(dir, 0o700); err != nil { // the log must not name a key whose file a crash takes away
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "keys.open", dir, "cannot create the folder").Because(err)
	}
	for _, purpose := range purposes {
		files, err := keyFiles(dir, purpose)
		if err == nil && len(files) == 0 {
			_, err = openKey(filepath.Join(dir, purpose+".key"), purpose, domain)
		}
		if err != nil {
			return nil, err
		}
	}
	return heldKeys(dir, domain) // of several keys of a purpose, the log says which: see follow
}

// logName is the origin of a domain's log.
func logName(domain vaultmesh.Domain) string { return "vaultmesh.org/log/" + string(domain) }

// seedFile loads an ed25519 key, or makes one where the file does not exist.
func seedFile(path string) (ed25519.PrivateKey, error) {
	text, err := readSecret(path, func() (string, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return "", err
		}
		return base64.StdEncoding.EncodeToString(key.Seed()) + "\n", nil
	})
	if err != nil {
		return nil, err
	}
	return parseSeed(path, text)
}

func parseSeed(path, text string) (ed25519.PrivateKey, error) {
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "keys.open", path, "want %d bytes in base64", ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// readSecret reads a small secret file, made by create where it does not exist. A file that others may read is refused.
func readSecret(path string, create func() (string, error)) (string, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && create != nil {
		text, err := create()
		if err != nil {
			return "", vaultmesh.Errorf(vaultmesh.Internal, "keys.open", path, "cannot make a key").Because(err)
		}
		return text, WriteSecret(path, []byte(text))
	}
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, "keys.open", path, "cannot read").Because(err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", vaultmesh.Errorf(vaultmesh.Denied, "keys.open", path, "others than its owner may read it (mode %o)", st.Mode().Perm()).WithFix("chmod 600 %s", path)
	}
	if st.Size() > 64<<10 {
		return "", vaultmesh.Errorf(vaultmesh.TooLarge, "keys.open", path, "%d bytes", st.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, "keys.open", path, "cannot read").Because(err)
	}
	return string(b), nil
}

// WriteSecret writes a file that only its owner may read, atomically and durably.
func WriteSecret(path string, b []byte) error { return writeFile(path, b, 0o600) }

// writeFile replaces a file atomically and durably.
func writeFile(path string, b []byte, mode fs.FileMode) error {
	if err := durable.Replace(path, b, mode); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "file.write", path, "cannot write").Because(err)
	}
	return nil
}

// signer signs receipts with the domain's key.
type signer ed25519.PrivateKey

func (s signer) Sign(message []byte) ([]byte, error) {
	return ed25519.Sign(ed25519.PrivateKey(s), message), nil
}

func (s signer) KeyID() string {
	return receipt.KeyID(ed25519.PrivateKey(s).Public().(ed25519.PublicKey))
}
