// Command tessera drives a Tessera POSIX log with the entries of a benchmark, as a peer that is measured in the same
// run; "vaultmesh bench receipts" starts it. It is on floor 7, a program of its own, so that the product does not link
// Tessera. It prints one line of JSON.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"

	"vaultmesh.org/vaultmesh/bench/pace"
)

// The settings at which Tessera POSIX did best here: many entries a batch, a batch after 20 ms, and the shortest
// checkpoint interval that its storage permits.
const (
	batch      = 1024
	batchAge   = 20 * time.Millisecond
	checkpoint = 100 * time.Millisecond
	collect    = 2 * time.Second
	poll       = 5 * time.Millisecond
)

// Result is what was measured; times are milliseconds.
type Result struct {
	Rate          float64 `json:"rate"` // a second, each durable and integrated before the submitter's next
	P50           float64 `json:"p50_ms"`
	P99           float64 `json:"p99_ms"`
	CheckpointP50 float64 `json:"checkpoint_p50_ms"` // at the open rate, until a published checkpoint covers the entry
	CheckpointP99 float64 `json:"checkpoint_p99_ms"`
	Settings      string  `json:"settings"`
}

func main() {
	dir := flag.String("dir", "", "empty folder for the log")
	entries := flag.String("entries", "", "file of entries, each with its length in 32 bits before it")
	submitters := flag.Int("submitters", 1024, "submitters of the closed loop")
	seconds := flag.Float64("seconds", 5, "length of each section")
	rate := flag.Float64("rate", 200, "entries a second of the open loop")
	flag.Parse()
	klog.SetOutput(os.Stderr)
	r, err := run(*dir, *entries, *submitters, time.Duration(*seconds*float64(time.Second)), *rate)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tessera peer:", err)
		os.Exit(1)
	}
}

func run(dir, file string, submitters int, d time.Duration, rate float64) (*Result, error) {
	ctx := context.Background()
	list, err := load(file)
	if err != nil {
		return nil, err
	}
	sk, _, err := note.GenerateKey(rand.Reader, "vaultmesh.org/bench/tessera")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(sk)
	if err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return nil, err
	}
	o := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithCheckpointInterval(checkpoint).WithBatching(batch, batchAge).
		WithGarbageCollectionInterval(collect).WithPushback(4 * batch)
	log, stop, reader, err := tessera.NewAppender(ctx, driver, o)
	if err != nil {
		return nil, err
	}
	closed, err := pace.Closed(ctx, submitters, min(d/4, 2*time.Second), d, func(who int) func(uint64) error {
		return func(n uint64) error {
			_, err := log.Add(ctx, tessera.NewEntry(list[(uint64(who)*7919+n)%uint64(len(list))]))()
			return err
		}
	})
	if err != nil {
		return nil, err
	}
	open, err := published(ctx, log, reader, list, d, rate)
	if err != nil {
		return nil, err
	}
	return &Result{Rate: closed.Rate(d), P50: closed.P50(), P99: closed.P99(), CheckpointP50: open.P50(), CheckpointP99: open.P99(),
		Settings: fmt.Sprintf("batches of %d or %v, checkpoints every %v, no deduplication", batch, batchAge, checkpoint)}, stop(ctx)
}

// published sends entries at a fixed rate and counts the time until a published checkpoint covers each, from when it was due.
func published(ctx context.Context, log *tessera.Appender, reader tessera.LogReader, list [][]byte, d time.Duration, rate float64) (*pace.Times, error) {
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, poll)
	all, _, err := pace.Open(ctx, rate, d, func(i int) error {
		_, _, err := awaiter.Await(ctx, log.Add(ctx, tessera.NewEntry(list[i%len(list)])))
		return err
	})
	return all, err
}

// load reads the entries.
func load(file string) ([][]byte, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list [][]byte
	for len(raw) > 0 {
		if len(raw) < 4 || uint64(len(raw)-4) < uint64(binary.BigEndian.Uint32(raw)) {
			return nil, fmt.Errorf("%s: the last entry is cut short", file)
		}
		n := binary.BigEndian.Uint32(raw)
		list, raw = append(list, raw[4:4+n]), raw[4+n:]
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s holds no entry", file)
	}
	return list, nil
}
