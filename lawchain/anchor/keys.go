package anchor

import (
	"encoding/binary"
	"encoding/json"
	"math/big"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// Keys of the jobs in the journal. Numbers are eight bytes big-endian, so that scans are in order.
//
//	l/j/s                       number of the next job
//	l/j/j/<number>              a job: JSON of record
//	l/j/i/<id>                  number of the job with that identifier
//	l/j/o/<number>              the job is still looked at: open, or final and watched
//	l/j/a/<target>\0<size>      number of the job that anchored this size (confirmed or final)
//	l/j/n/<size>                signed checkpoint of that size, as it was when its first job was made
//	l/j/t/<target>              JSON of standing
//	l/j/d/<target>\0<day>       fees of the UTC day (20060102), decimal
//	l/j/k/<digest>              an idempotency key: JSON of asked
//	l/j/p                       number of the first job that was not yet looked at for removal
//	l/j/q                       the last idempotency key that was
var (
	keySequence   = []byte("l/j/s")
	keyPruned     = []byte("l/j/p")
	keyOpen       = []byte("l/j/o/")
	keyPrunedKeys = []byte("l/j/q")
	keyOpenEnd    = []byte("l/j/o0") // '0' follows '/'
)

func keyJob(n uint64) []byte      { return binary.BigEndian.AppendUint64([]byte("l/j/j/"), n) }
func keyOpenJob(n uint64) []byte  { return binary.BigEndian.AppendUint64([]byte("l/j/o/"), n) }
func keyNote(size uint64) []byte  { return binary.BigEndian.AppendUint64([]byte("l/j/n/"), size) }
func keyID(id string) []byte      { return append([]byte("l/j/i/"), id...) }
func keyStanding(t string) []byte { return append([]byte("l/j/t/"), t...) }

func keyAnchored(target string, size uint64) []byte {
	return binary.BigEndian.AppendUint64(append(append([]byte("l/j/a/"), target...), 0), size)
}

func keyAnchoredEnd(target string) []byte { return append(append([]byte("l/j/a/"), target...), 1) }

func keyDay(target, day string) []byte {
	return append(append(append([]byte("l/j/d/"), target...), 0), day...)
}

func keyAsked(d vaultmesh.Digest) []byte { return append([]byte("l/j/k/"), d[:]...) }

// record is a job as it is stored.
type record struct {
	Job
	Charged   string    `json:"charged,omitempty"` // what is in the accounts for it, over all days
	Sunk      string    `json:"sunk,omitempty"`    // part of it: for what was signed and given up by the target, and may be paid all the same
	Days      []charged `json:"days,omitempty"`    // what of Charged is in which day's account, oldest first
	Day       string    `json:"day,omitempty"`     // the one day that was charged, in records without Days
	Receipted bool      `json:"receipted,omitempty"`
	Watch     time.Time `json:"watch,omitzero"` // until when a final job is proved again from time to time

	number uint64    // of the job: its key
	due    time.Time // when it is looked at again: NotBefore, or later where a step found nothing new
	looked time.Time // when it was looked at last, in this process
}

// charged is what is in one day's account for a job.
type charged struct {
	Day string `json:"day"` // as in 20060102, UTC
	Fee string `json:"fee"`
}

// standing is what is known of a target over all its jobs.
type standing struct {
	Newest   uint64    `json:"newest,string"`   // number of its newest job
	Any      bool      `json:"any"`             // it has had one
	Made     time.Time `json:"made"`            // when that job was made
	Size     uint64    `json:"size,string"`     // of that job; of the largest anchor once it failed
	Anchored uint64    `json:"anchored,string"` // largest size under a verified anchor
	Settled  uint64    `json:"settled,string"`  // largest size under a final anchor
	Final    uint64    `json:"final,string"`    // jobs that ended so
	Failed   uint64    `json:"failed,string"`
	Lost     uint64    `json:"lost,string"`     // verified anchors that were taken back
	Spent    string    `json:"spent,omitempty"` // fees, over all days
}

// asked is what an idempotency key was used for.
type asked struct {
	Targets []string `json:"targets"`
	Jobs    []string `json:"jobs"`
}

func damaged(what string, err error) error {
	return vaultmesh.Errorf(vaultmesh.Corrupt, "anchor.load", what, "the stored value cannot be read").Because(err).
		WithFix("restore the data folder from a backup or a replica")
}

func getJSON[T any](r journal.Reader, key []byte) (v T, ok bool, err error) {
	b, ok, err := r.Get(key)
	if err != nil || !ok {
		return v, false, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, false, damaged(string(key[:min(len(key), 6)]), err)
	}
	return v, true, nil
}

func putJSON(tx journal.Tx, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "anchor.store", "", "cannot be written as JSON").Because(err)
	}
	tx.Put(key, b)
	return nil
}

func getNumber(r journal.Reader, key []byte) (uint64, bool, error) {
	b, ok, err := r.Get(key)
	if err != nil || !ok {
		return 0, false, err
	}
	if len(b) != 8 {
		return 0, false, damaged(string(key[:min(len(key), 6)]), nil)
	}
	return binary.BigEndian.Uint64(b), true, nil
}

func putNumber(tx journal.Tx, key []byte, n uint64) {
	tx.Put(key, binary.BigEndian.AppendUint64(nil, n))
}

func getRecord(r journal.Reader, number uint64) (*record, error) {
	x, ok, err := findRecord(r, number)
	if err == nil && !ok {
		err = damaged("job", nil)
	}
	return x, err
}

// findRecord reads a job that may have been removed.
func findRecord(r journal.Reader, number uint64) (*record, bool, error) {
	x, ok, err := getJSON[record](r, keyJob(number))
	x.number, x.due = number, x.NotBefore
	return &x, ok, err
}

// maxFee bounds a fee in digits.
const maxFee = 40

// amount reads a fee; empty is nothing. ok is false for anything but a decimal integer from 0.
func amount(s string) (*big.Int, bool) {
	if s == "" {
		return new(big.Int), true
	}
	if len(s) > maxFee {
		return nil, false
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return nil, false
		}
	}
	return new(big.Int).SetString(s, 10)
}

// written is the inverse of amount.
func written(n *big.Int) string {
	if n.Sign() == 0 {
		return ""
	}
	return n.String()
}
