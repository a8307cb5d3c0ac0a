package fsck

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"vaultmesh.org/vaultmesh"
)

// chainEnd is the end of a subject's chain.
type chainEnd struct {
	count uint64
	last  vaultmesh.LogIndex
	leaf  [16]byte
}

const endSize = 8 + 8 + 16

func (e chainEnd) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, endSize), e.count)
	b = binary.BigEndian.AppendUint64(b, uint64(e.last))
	return append(b, e.leaf[:]...)
}

// about is a subject: the beginning of its digest.
type about [16]byte

// hotSubjects bounds the subjects whose ends are in memory, some 100 bytes each, and maxSubjects all of them, 50 bytes each on
// a disk: whoever makes a log chooses how many there are.
const (
	hotSubjects = 1 << 20
	maxSubjects = 1 << 30
)

// ends are the ends of all subjects' chains: those that were looked at of late in memory, the others in a store in a
// temporary folder, which is made when there are too many. It is owned by one goroutine; close removes the folder.
type ends struct {
	hot   map[about]chainEnd
	limit int
	temp  string // folder for the temporary folder; empty for the system's
	count int    // subjects

	dir string
	db  *pebble.DB
	on  []uint64 // a filter of the subjects on the disk, filterBits large: most that are looked up are new
}

// filterBits is 32 MiB: of ten million subjects one look-up in two thousand goes to the disk in vain.
const filterBits = 1 << 28

// places are those of a subject in the filter; its digest is as good as random.
func (s about) places() (out [4]uint32) {
	for i := range out {
		out[i] = binary.BigEndian.Uint32(s[4*i:]) % filterBits
	}
	return out
}

func (e *ends) spilled(s about) bool {
	for _, p := range s.places() {
		if e.on[p/64]&(1<<(p%64)) == 0 {
			return false
		}
	}
	return true
}

func newEnds(limit int, temp string) *ends {
	if limit <= 0 {
		limit = hotSubjects
	}
	return &ends{hot: map[about]chainEnd{}, limit: limit, temp: temp}
}

// get returns the end of a subject's chain; ok is false where it has none.
func (e *ends) get(s about) (end chainEnd, ok bool, err error) {
	if end, ok = e.hot[s]; ok || e.db == nil || !e.spilled(s) {
		return end, ok, nil
	}
	v, closer, err := e.db.Get(s[:])
	if errors.Is(err, pebble.ErrNotFound) {
		return end, false, nil
	}
	if err != nil {
		return end, false, e.failed(err)
	}
	defer func() { _ = closer.Close() }()
	if len(v) != endSize {
		return end, false, e.failed(errors.New("a record of another size"))
	}
	end.count, end.last = binary.BigEndian.Uint64(v), vaultmesh.LogIndex(binary.BigEndian.Uint64(v[8:]))
	copy(end.leaf[:], v[16:])
	return end, true, nil
}

// put sets the end of a subject's chain; known says that it had one.
func (e *ends) put(s about, end chainEnd, known bool) error {
	if !known {
		if e.count == maxSubjects {
			return vaultmesh.Errorf(vaultmesh.TooLarge, "fsck", "", "the log has more than %d subjects", maxSubjects)
		}
		e.count++
	}
	e.hot[s] = end
	if len(e.hot) < e.limit {
		return nil
	}
	return e.spill()
}

// spill writes what is in memory to the disk, in the order of the keys.
func (e *ends) spill() error {
	if e.db == nil {
		if err := e.open(); err != nil {
			return e.failed(err)
		}
	}
	keys := make([]about, 0, len(e.hot))
	for s := range e.hot {
		keys = append(keys, s)
	}
	slices.SortFunc(keys, func(a, b about) int { return bytes.Compare(a[:], b[:]) })
	for len(keys) > 0 {
		part := keys[:min(len(keys), 1<<16)]
		keys = keys[len(part):]
		b := e.db.NewBatch()
		for _, s := range part {
			if err := b.Set(s[:], e.hot[s].encode(), nil); err != nil {
				return e.failed(errors.Join(err, b.Close()))
			}
			for _, p := range s.places() {
				e.on[p/64] |= 1 << (p % 64)
			}
		}
		if err := errors.Join(b.Commit(pebble.NoSync), b.Close()); err != nil {
			return e.failed(err)
		}
	}
	clear(e.hot)
	return nil
}

func (e *ends) open() (err error) {
	if e.dir, err = os.MkdirTemp(e.temp, "vaultmesh-fsck-"); err != nil {
		return err
	}
	cache := pebble.NewCache(64 << 20)
	defer cache.Unref()
	e.on = make([]uint64, filterBits/64)
	o := &pebble.Options{Cache: cache, DisableWAL: true, MemTableSize: 32 << 20, FormatMajorVersion: pebble.FormatNewest, Logger: silent{}}
	e.db, err = pebble.Open(e.dir, o)
	return err
}

// failed says what the disk did: that is nothing that the log is to blame for.
func (e *ends) failed(err error) error {
	return vaultmesh.Errorf(vaultmesh.Unavailable, "fsck", e.dir, "the ends of the subjects' histories cannot be kept on the disk").Because(err).
		WithFix("give a temporary folder with room for 50 bytes for each subject (TMPDIR)")
}

// close removes what is on the disk.
func (e *ends) close() error {
	if e.dir == "" {
		return nil
	}
	var err error
	if e.db != nil {
		err = e.db.Close()
	}
	return errors.Join(err, os.RemoveAll(e.dir))
}

// silent swallows what the store tells of its work.
type silent struct{}

func (silent) Infof(string, ...any)                   {}
func (silent) Errorf(string, ...any)                  {}
func (silent) Fatalf(string, ...any)                  {}
func (silent) Eventf(context.Context, string, ...any) {}
func (silent) IsTracingEnabled(context.Context) bool  { return false }
