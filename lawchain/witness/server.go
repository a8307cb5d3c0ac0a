package witness

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal/durable"
)

// ServerOptions of a [Server]; Dir, Signer and Logs are required.
type ServerOptions struct {
	Dir    string // durable, of this witness alone
	Signer *fnote.Signer
	// Record is a folder beside the key in which the heads are kept once more, so that a Dir that was lost or put back to
	// an older copy is refused (Corrupt) as long as the key stays. It must not be in Dir. Empty: no such record.
	Record string
	// Recover takes the heads from Record where Dir lost them or holds older ones. It is for an operator who knows that
	// Record itself was not put back: a witness that forgets may cosign two trees.
	Recover bool
	// Logs are the keys of the logs that are witnessed. During a rotation a log has two, both under its one name.
	Logs []note.Verifier
	// Conflict is called once for each new proof of equivocation, after it is on the disk; it must not block.
	Conflict func(Conflict)
	Now      func() time.Time // default time.Now
	Log      *slog.Logger     // default slog.Default
	// BodyTimeout is how long the body of a request may take. Default 5 s; a body has at most [MaxRequest] bytes.
	BodyTimeout time.Duration
	// Failpoint is called at "persisted", between the new head on the disk and its cosignature; tests kill the process there.
	Failpoint func(point string)
}

// Server is a witness. It cosigns a checkpoint only after the new head is durable, so that no crash can make it sign a
// smaller or another tree afterwards. It is safe for concurrent use; two processes cannot have one folder open.
type Server struct {
	o       ServerOptions
	record  record
	locks   []io.Closer         // of the folder and of the record
	logs    map[string]*watched // by origin; fixed at creation
	limit   chan struct{}       // requests at work: their bodies are read
	intake  intake              // requests whose bodies are being read
	handler http.Handler
	results *prometheus.CounterVec
	sizes   *prometheus.GaugeVec

	mu        sync.Mutex // guards what follows
	conflicts int        // kept on the disk
	origins   []string   // names of the logs of which there is a record, sorted, as on the disk
}

// watched is one log. mu is held from the comparison with the head until the new head is durable and cosigned: two
// requests about one log never interleave.
type watched struct {
	keys []note.Verifier
	file string

	mu   sync.Mutex
	head head
}

// maxConcurrent bounds the requests at work; each needs some kilobytes and one write to the disk.
const maxConcurrent = 64

// NewServer opens the folder of a witness, or makes it.
func NewServer(o ServerOptions) (_ *Server, err error) {
	const op = "witness.open"
	if o.Signer == nil || len(o.Logs) == 0 || len(o.Logs) > 10_000 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, o.Dir, "a witness needs its key, and 1 to 10000 keys of logs, not %d", len(o.Logs))
	}
	setDefaults(&o)
	s := &Server{o: o, record: record{o.Record}, logs: map[string]*watched{}, limit: make(chan struct{}, maxConcurrent),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vaultmesh_witness_served_total", Help: "Checkpoints submitted to this witness, by log and HTTP status."}, []string{"origin", "status"}),
		sizes:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "vaultmesh_witness_held_size", Help: "Size of the newest checkpoint that this witness holds, by log."}, []string{"origin"}),
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	// The record too: two folders with one record would be two witnesses with one key.
	for _, dir := range []string{o.Dir, o.Record} {
		if err := s.own(dir); err != nil {
			return nil, err
		}
	}
	if err := s.claim(); err != nil {
		return nil, err
	}
	if s.origins, err = readOrigins(s.originsFile()); err != nil {
		return nil, err
	}
	for _, v := range o.Logs {
		if err := s.watch(v); err != nil {
			return nil, err
		}
	}
	kept, err := Conflicts(o.Dir)
	if err != nil {
		return nil, err
	}
	s.conflicts = len(kept)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", s.serveAdd)
	mux.HandleFunc("GET /log/{name}/checkpoint", s.serveHeld)
	s.handler = mux
	return s, nil
}

// own makes a folder, and keeps every other process out of it until Close.
func (s *Server) own(dir string) error {
	const op = "witness.open"
	if dir == "" {
		return nil
	}
	if err := durable.Folder(dir, 0o700); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, dir, "cannot create the folder").Because(err).
			WithFix("make the folder writable for this user, or name another one that shares the fate of the key")
	}
	lock, err := vfs.Default.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, dir, "another witness has this folder open, or it cannot be written").Because(err).WithFix("stop the other one: a key belongs to one witness with one folder")
	}
	s.locks = append(s.locks, lock)
	return nil
}

// watch adds one key of a log, and loads what was cosigned of the log.
func (s *Server) watch(v note.Verifier) error {
	const op = "witness.open"
	w := s.logs[v.Name()]
	if w == nil {
		name := originName(v.Name())
		w = &watched{file: filepath.Join(s.o.Dir, "logs", name)}
		var err error
		if w.head, err = readHead(w.file, v.Name()); err != nil {
			return err
		}
		same := true
		if w.head, same, err = s.record.newest(v.Name(), w.file, w.head, s.o.Recover); err != nil {
			return err
		}
		_, cosigned := slices.BinarySearch(s.origins, name)
		if cosigned && w.head.note == nil {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, w.file, "the log %.120q was cosigned, and the record of it is gone", v.Name()).WithFix(fixForgotten)
		}
		if w.head.note != nil && !(cosigned && same) { // killed between two of these, or recovered
			if err := s.keep(v.Name(), w.file, w.head); err != nil {
				return vaultmesh.Errorf(vaultmesh.Unavailable, op, s.o.Dir, "cannot write").Because(err)
			}
		}
		s.logs[v.Name()] = w
		s.sizes.WithLabelValues(v.Name()).Set(float64(w.head.size))
	}
	if slices.ContainsFunc(w.keys, func(k note.Verifier) bool { return k.KeyHash() == v.KeyHash() }) {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, v.Name(), "the key %s+%08x is given twice", v.Name(), v.KeyHash()).WithFix("name each key of a log once; during a rotation its two keys")
	}
	w.keys = append(w.keys, v)
	return nil
}

// keep makes a head durable: in the folder, in the list of the logs, in the record beside the key. Only after all three may
// it be cosigned.
func (s *Server) keep(origin, file string, h head) error {
	if err := durable.Replace(file, encodeHead(h.note), 0o600); err != nil {
		return err
	}
	if err := s.remember(origin); err != nil {
		return err
	}
	return s.record.put(originName(origin), h)
}

func (s *Server) originsFile() string { return filepath.Join(s.o.Dir, "origins") }

// remember makes it durable that there is a record of the log, so that its absence is never taken for a new log.
func (s *Server) remember(origin string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := originName(origin)
	at, known := slices.BinarySearch(s.origins, name)
	if known {
		return nil
	}
	next := slices.Insert(slices.Clone(s.origins), at, name)
	if err := durable.Replace(s.originsFile(), encodeOrigins(next), 0o600); err != nil {
		return err
	}
	s.origins = next
	return nil
}

func setDefaults(o *ServerOptions) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.BodyTimeout <= 0 {
		o.BodyTimeout = 5 * time.Second
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	if o.Conflict == nil {
		o.Conflict = func(Conflict) {}
	}
}

// claim binds the folder to the witness's key at its first start. A folder that knows its key and lacks the record of
// what was cosigned was damaged, and a key without that record is worth nothing any more.
func (s *Server) claim() error {
	const op = "witness.open"
	path, id := filepath.Join(s.o.Dir, "key"), fmt.Sprintf("%s+%08x\n", s.o.Signer.Name(), s.o.Signer.KeyHash())
	have, err := os.ReadFile(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if !fresh && (err != nil || string(have) != id) {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, path, "the folder belongs to the witness %.120q, the key is of %.120q", bytes.TrimSpace(have), id[:len(id)-1]).Because(err).
			WithFix("give a new key a new folder; a key must never be used without its own record")
	}
	if err := s.claimRecord(id, fresh); err != nil {
		return err
	}
	if fresh {
		err = errors.Join(durable.Folder(filepath.Join(s.o.Dir, "logs"), 0o700), durable.Folder(filepath.Join(s.o.Dir, "conflicts"), 0o700))
		if _, there := os.Lstat(s.originsFile()); err == nil && errors.Is(there, fs.ErrNotExist) {
			err = durable.Replace(s.originsFile(), encodeOrigins(nil), 0o600)
		}
		if err == nil {
			err = durable.Replace(path, []byte(id), 0o600)
		}
		if err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, op, s.o.Dir, "cannot write").Because(err)
		}
		return nil
	}
	for _, sub := range []string{"logs", "conflicts"} {
		if st, err := os.Stat(filepath.Join(s.o.Dir, sub)); err != nil || !st.IsDir() {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, filepath.Join(s.o.Dir, sub), "it is missing: the witness forgot what it cosigned").
				WithFix("restore the newest backup, or retire the key")
		}
	}
	return nil
}

// claimRecord binds the record beside the key to the key, and marks the folder as one that has such a record.
func (s *Server) claimRecord(id string, fresh bool) error {
	if s.record.dir == "" {
		return nil
	}
	mark := filepath.Join(s.o.Dir, "recorded")
	_, err := os.Lstat(mark)
	if err := s.record.claim(id, fresh, err == nil, s.o.Recover); err != nil {
		return err
	}
	if err != nil {
		if err := durable.Replace(mark, nil, 0o600); err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, "witness.open", s.o.Dir, "cannot write").Because(err)
		}
	}
	return nil
}

// Close gives the folder free; no request may be under way.
func (s *Server) Close() error {
	var err error
	for _, l := range s.locks {
		err = errors.Join(err, l.Close())
	}
	return err
}

// Collectors returns the witness's metrics.
func (s *Server) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.results, s.sizes}
}

// Answer is what a witness says to add-checkpoint.
type Answer struct {
	Status int
	Type   string // content type
	Body   []byte
}

func plain(status int, format string, args ...any) Answer {
	return Answer{Status: status, Type: "text/plain; charset=utf-8", Body: fmt.Appendf(nil, format+"\n", args...)}
}

func sizeAnswer(size uint64) Answer {
	return Answer{Status: http.StatusConflict, Type: sizeType, Body: append(strconv.AppendUint(nil, size, 10), '\n')}
}

// AddCheckpoint judges one request in the order of the specification.
func (s *Server) AddCheckpoint(body []byte) Answer {
	r, err := ParseRequest(body)
	if vaultmesh.KindOf(err) == vaultmesh.TooLarge && err != nil {
		return plain(http.StatusRequestEntityTooLarge, "%v", err)
	}
	if err != nil {
		return plain(http.StatusBadRequest, "%v", err)
	}
	c, text, err := parseText(r.Checkpoint)
	if err != nil {
		return plain(http.StatusBadRequest, "%v", err)
	}
	w := s.logs[c.Origin]
	if w == nil {
		return plain(http.StatusNotFound, "this witness does not know the log %.200q", c.Origin)
	}
	if _, err := note.Open(r.Checkpoint, note.VerifierList(w.keys...)); err != nil {
		return plain(http.StatusForbidden, "not signed by a known key of %.200q", c.Origin)
	}
	if r.Old > c.Size {
		return plain(http.StatusBadRequest, "the old size %d is above the checkpoint's, %d", r.Old, c.Size)
	}
	next := head{size: c.Size, root: vaultmesh.Digest(c.Hash), note: r.Checkpoint}
	w.mu.Lock()
	defer w.mu.Unlock()
	if next.size == w.head.size && w.head.note != nil && next.root != w.head.root {
		s.equivocated(c.Origin, w.head, next)
		return sizeAnswer(w.head.size)
	}
	if r.Old != w.head.size {
		return sizeAnswer(w.head.size)
	}
	root := w.head.root
	if w.head.note == nil {
		root = vaultmesh.Digest(rfc6962.DefaultHasher.EmptyRoot())
	}
	if !grows(r, root, next) {
		return plain(http.StatusUnprocessableEntity, "the consistency proof from %d to %d does not verify", r.Old, c.Size)
	}
	// Durable before it is signed: see Server.
	if next.size > w.head.size || w.head.note == nil {
		if err := s.keep(c.Origin, w.file, next); err != nil {
			s.o.Log.Error("witness: cannot write the record; nothing was cosigned", "origin", c.Origin, "error", err)
			return plain(http.StatusServiceUnavailable, "the witness cannot write")
		}
		w.head = next
		s.sizes.WithLabelValues(c.Origin).Set(float64(next.size))
	}
	s.o.Failpoint("persisted")
	signed, err := note.Sign(&note.Note{Text: string(text)}, s.o.Signer)
	if err != nil {
		s.o.Log.Error("witness: cannot sign", "origin", c.Origin, "error", err)
		return plain(http.StatusInternalServerError, "the witness cannot sign")
	}
	return Answer{Status: http.StatusOK, Type: "text/plain; charset=utf-8", Body: signed[len(text)+1:]}
}

// grows verifies the proof that next extends the tree of size r.Old with the given root.
func grows(r Request, root vaultmesh.Digest, next head) bool {
	if r.Old == 0 || r.Old == next.size {
		// From nothing, and to itself, nothing is to be proved.
		return len(r.Proof) == 0 && (r.Old != next.size || root == next.root)
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, r.Old, next.size, r.Proof, root[:], next.root[:]) == nil
}

// equivocated keeps both notes: the log's own signatures prove that it told two stories. w.mu is held.
func (s *Server) equivocated(origin string, held, offered head) {
	c := Conflict{Origin: origin, Size: held.size, Seen: s.o.Now().UTC(), Held: string(held.note), Offered: string(offered.note)}
	path := filepath.Join(s.o.Dir, "conflicts", conflictName(origin, held.size, held.root, offered.root))
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(path); err == nil || s.conflicts >= maxConflicts {
		return
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err == nil {
		err = durable.Replace(path, append(b, '\n'), 0o600)
	}
	if err != nil {
		s.o.Log.Error("witness: a log equivocates and the proof cannot be kept", "origin", origin, "size", held.size, "error", err)
		return
	}
	s.conflicts++
	s.o.Log.Error("witness: a log equivocates: it signed two trees of one size", "origin", origin, "size", held.size, "evidence", path)
	s.o.Conflict(c)
}

// Held returns the signed checkpoint of a log that this witness holds; ok is false where it has none. The name is the
// SHA-256 of the origin in hexadecimal.
func (s *Server) Held(name string) (signed []byte, ok bool) {
	for origin, w := range s.logs {
		if originName(origin) == name {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.head.note), w.head.note != nil
		}
	}
	return nil, false
}

// ServeHTTP serves POST /add-checkpoint, and GET /log/<sha256 of the origin>/checkpoint, which the specification leaves
// open: the checkpoint that this witness holds. Who sends slowly takes no place of those who do not: a request is at work
// only once its body is there.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	if r.Method == http.MethodPost {
		var refused *Answer
		if body, refused = s.receive(w, r); refused != nil {
			s.answer(w, "unknown", *refused)
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	select {
	case s.limit <- struct{}{}:
		defer func() { <-s.limit }()
		s.handler.ServeHTTP(w, r)
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
	}
}

func (s *Server) serveAdd(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body) // in memory: see ServeHTTP
	a := plain(http.StatusBadRequest, "the request was cut off")
	if err == nil {
		a = s.AddCheckpoint(body)
	}
	s.answer(w, s.originLabel(body), a)
}

func (s *Server) answer(w http.ResponseWriter, origin string, a Answer) {
	s.results.WithLabelValues(origin, strconv.Itoa(a.Status)).Inc()
	w.Header().Set("Content-Type", a.Type)
	w.Header().Set("Cache-Control", "no-store")
	if a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body)
}

// originLabel names a known log; what strangers send must not make new series.
func (s *Server) originLabel(body []byte) string {
	if r, err := ParseRequest(body); err == nil {
		origin, _, _ := bytes.Cut(r.Checkpoint, []byte("\n"))
		if s.logs[string(origin)] != nil {
			return string(origin)
		}
	}
	return "unknown"
}

func (s *Server) serveHeld(w http.ResponseWriter, r *http.Request) {
	b, ok := s.Held(r.PathValue("name"))
	if !ok {
		http.Error(w, "this witness holds no checkpoint of such a log", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(b)
}

// GenerateKey makes the key of a witness: the secret text for [LoadKey], and the verifier key (cosignature/v1) that
// others put into their policies.
func GenerateKey(name string) (secret, vkey string, err error) {
	secret, plain, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", "", vaultmesh.Errorf(vaultmesh.Invalid, "witness.key", name, "no key can be made under this name").Because(err).WithFix("take a name without spaces and +, like a URL without its scheme")
	}
	vkey, err = fnote.VKeyToCosignatureV1(plain)
	return secret, vkey, err
}

// LoadKey reads the secret text of a witness's key.
func LoadKey(secret string) (s *fnote.Signer, vkey string, err error) {
	if s, err = fnote.NewSignerForCosignatureV1(secret); err != nil {
		return nil, "", vaultmesh.Errorf(vaultmesh.Corrupt, "witness.key", "", "not the secret key of a witness")
	}
	// PRIVATE+KEY+name+hash+base64: the base64 alphabet has + itself.
	seed, err := base64.StdEncoding.DecodeString(strings.SplitN(secret, "+", 5)[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, "", vaultmesh.Errorf(vaultmesh.Invalid, "witness.key", s.Name(), "not an ed25519 key")
	}
	plain, err := note.NewEd25519VerifierKey(s.Name(), ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey))
	if err != nil {
		return nil, "", vaultmesh.Errorf(vaultmesh.Invalid, "witness.key", s.Name(), "not a key").Because(err)
	}
	vkey, err = fnote.VKeyToCosignatureV1(plain)
	return s, vkey, err
}
