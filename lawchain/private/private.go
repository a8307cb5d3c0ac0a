// Package private keeps texts that may be personal so that they can be erased although the log that commits to them never
// forgets: a receipt holds a salted commitment, the journal the text encrypted under a key of its author's own, and a file
// beside the journal that key. Whoever destroys the file erases the texts; every proof goes on to verify. It is on floor 2.
//
// It must not know which texts are private, nor who may read or erase them.
//
// # What erasure means here
//
// The key of a principal is one file of 32 random bytes, made and synced before the first receipt that needs it. It is never
// in the journal, whose store keeps old values until it compacts. [Store.Erase] overwrites the file with random bytes,
// syncs it, cuts it to nothing, unlinks it, and syncs the folder. From then on nothing that this program keeps can decrypt
// the texts, and without the salt, which was encrypted with the text, a commitment cannot be compared with a guess.
//
// What it cannot promise: flash storage writes an overwrite elsewhere and may keep the old cells until it reuses them;
// copy-on-write and log-structured file systems, snapshots, replicas and backups keep what they copied; the memory of a
// process and swapped pages keep a key for a while. Put the folder on a volume whose own key can be destroyed, and outside
// of backups or into such that expire.
//
// Sources: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), with 24 random bytes of nonce for each text; the principal and
// the commitment are the additional data, so that no ciphertext can be passed off for another.
package private

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/journal/durable"
	"vaultmesh.org/vaultmesh/receipt"
)

// Keys of private texts in the journal.
//
//	l/p/t/<commitment>                 a text: Sealed as JSON
//	l/p/s/<principal>\0<commitment>    that it is one of the principal's: which key it is under, see keyName
const (
	textPrefix  = "l/p/t/"
	ownerPrefix = "l/p/s/"
)

// Sealed is one private text as it is stored: it can be read with the principal's key only.
type Sealed struct {
	Principal  vaultmesh.Principal `json:"principal"`
	Commitment vaultmesh.Digest    `json:"commitment"`
	Key        string              `json:"key"` // which of the principal's keys, see keyName
	Nonce      []byte              `json:"nonce"`
	Ciphertext []byte              `json:"ciphertext"` // of the receipt.Opening
}

// Store keeps the keys. It is safe for concurrent use, by one process.
type Store struct {
	dir  string
	rand io.Reader
	mu   sync.Mutex // held while key files are made or destroyed

	named bool // guarded by mu: the folder was synced since a key was last put into it
}

// Open returns the store of the keys in dir, which is made if it is missing. What a killed process left half made there is
// destroyed.
func Open(dir string, rand io.Reader) (*Store, error) {
	const op = "private.open"
	if err := durable.Folder(dir, 0o700); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, dir, "cannot make the folder").Because(err)
	}
	s := &Store{dir: dir, rand: rand}
	half, err := filepath.Glob(filepath.Join(dir, "new-*"))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, dir, "cannot read the folder").Because(err)
	}
	for _, path := range half {
		if err := s.destroy(path); err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot remove what was left half made").Because(err)
		}
	}
	return s, nil
}

// path is where the key of a principal is. The name does not show who it is.
func (s *Store) path(p vaultmesh.Principal) string {
	d := sha256.Sum256([]byte(p))
	return filepath.Join(s.dir, hex.EncodeToString(d[:])+".key")
}

// keyName names a key without saying anything about it that helps to find it.
func keyName(key []byte) string {
	d := sha256.Sum256(append([]byte("vaultmesh.org/private/key/v1\x00"), key...))
	return hex.EncodeToString(d[:8])
}

// read returns the principal's key; ok is false where there is none.
func (s *Store) read(p vaultmesh.Principal) (key []byte, ok bool, err error) {
	key, err = os.ReadFile(s.path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, vaultmesh.Errorf(vaultmesh.Unavailable, "private.key", string(p), "cannot read the key").Because(err)
	}
	if len(key) != chacha20poly1305.KeySize {
		return nil, false, vaultmesh.Errorf(vaultmesh.Corrupt, "private.key", string(p), "the key file has %d bytes", len(key)).WithFix("restore it from a backup, or erase the principal's texts")
	}
	return key, true, nil
}

// make makes a key; what is left is to sync its name. s.mu is held.
func (s *Store) make(p vaultmesh.Principal) ([]byte, error) {
	key := make([]byte, chacha20poly1305.KeySize)
	if _, err := io.ReadFull(s.rand, key); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return nil, err
	}
	_, err = f.Write(key)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		s.named = false
		err = os.Rename(f.Name(), s.path(p))
	}
	if err != nil {
		return nil, errors.Join(err, s.destroy(f.Name()))
	}
	return key, nil
}

// name makes the names of the keys durable, unless they are. A key that is found may be one that an earlier call, or an
// earlier process, could not sync. s.mu is held.
func (s *Store) name() error {
	if s.named {
		return nil
	}
	err := durable.Sync(s.dir)
	s.named = err == nil
	return err
}

// NewOpening returns a text with a fresh salt.
func (s *Store) NewOpening(text string) (receipt.Opening, error) {
	o := receipt.Opening{Text: text}
	if len(text) > receipt.MaxPrivate {
		return o, vaultmesh.Errorf(vaultmesh.TooLarge, "private.seal", "", "%d bytes, the limit is %d", len(text), receipt.MaxPrivate)
	}
	o.Text = strings.ToValidUTF8(text, "\uFFFD")
	if _, err := io.ReadFull(s.rand, o.Salt[:]); err != nil {
		return o, vaultmesh.Errorf(vaultmesh.Internal, "private.seal", "", "no random numbers").Because(err)
	}
	return o, nil
}

// Seal encrypts a text under the principal's key, which is made and durable by then. The result goes into the journal with
// the receipt that commits to it, see [Put].
func (s *Store) Seal(p vaultmesh.Principal, o receipt.Opening) (Sealed, error) {
	const op = "private.seal"
	if err := vaultmesh.CheckID("principal", string(p)); err != nil {
		return Sealed{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok, err := s.read(p)
	if err == nil && !ok {
		key, err = s.make(p)
	}
	if err == nil {
		err = s.name()
	}
	if err != nil {
		return Sealed{}, vaultmesh.Errorf(vaultmesh.Unavailable, op, string(p), "no key to keep the text under").Because(err).WithFix("check the folder %s", s.dir)
	}
	x := Sealed{Principal: p, Commitment: o.Commitment(), Key: keyName(key), Nonce: make([]byte, chacha20poly1305.NonceSizeX)}
	if _, err := io.ReadFull(s.rand, x.Nonce); err != nil {
		return Sealed{}, vaultmesh.Errorf(vaultmesh.Internal, op, string(p), "no random numbers").Because(err)
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return Sealed{}, vaultmesh.Errorf(vaultmesh.Internal, op, string(p), "the cipher refused its key").Because(err)
	}
	x.Ciphertext = aead.Seal(nil, x.Nonce, o.Encode(), x.additional())
	return x, nil
}

func (x *Sealed) additional() []byte {
	return append(append([]byte(x.Principal), 0), x.Commitment[:]...)
}

// Put stores a sealed text in the commit of tx. Conflict where a text of the same commitment was kept before, erased or
// not: whoever was shown another's opening must not put it under a key of their own, under which its author's erasure
// would not reach it.
func Put(tx journal.Tx, x Sealed) error {
	if _, kept, err := tx.Get(keyText(x.Commitment)); err != nil {
		return err
	} else if kept {
		return vaultmesh.Errorf(vaultmesh.Conflict, "private.put", x.Commitment.String(), "a text of this commitment was kept before").
			WithFix("make a commitment of your own, with 32 fresh random bytes of salt; to repeat a request, repeat its idempotency key")
	}
	b, err := json.Marshal(x)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "private.put", string(x.Principal), "cannot store").Because(err)
	}
	tx.Put(keyText(x.Commitment), b)
	tx.Put(keyOwner(x.Principal, x.Commitment), []byte(x.Key))
	return nil
}

func keyText(commitment vaultmesh.Digest) []byte { return append([]byte(textPrefix), commitment[:]...) }

func keyOwner(p vaultmesh.Principal, commitment vaultmesh.Digest) []byte {
	return append([]byte(ownerPrefix+string(p)+"\x00"), commitment[:]...)
}

// Open decrypts the text behind a commitment.
//
// Errors: NotFound where no such text was kept here, Expired where it was erased, Corrupt where what is stored is not what
// was committed to.
func (s *Store) Open(r journal.Reader, commitment vaultmesh.Digest) (receipt.Opening, error) {
	const op = "private.open"
	v, ok, err := r.Get(keyText(commitment))
	if err != nil {
		return receipt.Opening{}, err
	}
	if !ok {
		return receipt.Opening{}, vaultmesh.Errorf(vaultmesh.NotFound, op, commitment.String(), "no such text was kept here")
	}
	var x Sealed
	if err := json.Unmarshal(v, &x); err != nil || x.Commitment != commitment || len(x.Nonce) != chacha20poly1305.NonceSizeX {
		return receipt.Opening{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, commitment.String(), "the stored text is damaged").Because(err)
	}
	key, ok, err := s.read(x.Principal)
	if err != nil {
		return receipt.Opening{}, err
	}
	if !ok || keyName(key) != x.Key {
		return receipt.Opening{}, vaultmesh.Errorf(vaultmesh.Expired, op, commitment.String(), "the text was erased")
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return receipt.Opening{}, vaultmesh.Errorf(vaultmesh.Internal, op, string(x.Principal), "the cipher refused its key").Because(err)
	}
	plain, err := aead.Open(nil, x.Nonce, x.Ciphertext, x.additional())
	if err != nil {
		return receipt.Opening{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, commitment.String(), "the stored text does not decrypt").Because(err)
	}
	o, err := receipt.DecodeOpening(plain)
	if err != nil || o.Commitment() != commitment {
		return receipt.Opening{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, commitment.String(), "the stored text is not what was committed to").Because(err)
	}
	return o, nil
}

// Kept returns how many texts of a principal the journal holds, and how many of them are under its present key: those that
// can be read. It looks at every one.
func (s *Store) Kept(r journal.Reader, p vaultmesh.Principal) (all, readable uint64, err error) {
	key, ok, err := s.read(p)
	if err != nil && vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		return 0, 0, err
	}
	name := ""
	if ok {
		name = keyName(key)
	}
	lo, hi := []byte(ownerPrefix+string(p)+"\x00"), []byte(ownerPrefix+string(p)+"\x01")
	err = r.Scan(lo, hi, func(_, v []byte) (bool, error) {
		all++
		if ok && string(v) == name {
			readable++
		}
		return true, nil
	})
	return all, readable, err
}

// Erase destroys the principal's key, durably; destroyed is false where there was none. A new text of the principal gets a
// new key.
func (s *Store) Erase(p vaultmesh.Principal) (destroyed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.path(p)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err := s.destroy(path); err != nil {
		return false, vaultmesh.Errorf(vaultmesh.Unavailable, "private.erase", string(p), "the key may not be destroyed").Because(err).WithFix("repeat it, and check the folder %s", s.dir)
	}
	return true, nil
}

// destroy overwrites a file, cuts it to nothing, unlinks it, each step durable before the next.
func (s *Store) destroy(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		noise := make([]byte, max(info.Size(), chacha20poly1305.KeySize))
		if _, err = io.ReadFull(s.rand, noise); err == nil {
			_, err = f.WriteAt(noise, 0)
		}
	}
	err = errors.Join(err, f.Sync())
	if err == nil {
		err = errors.Join(f.Truncate(0), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return durable.Sync(s.dir)
}
