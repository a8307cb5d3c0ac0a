package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/bench/pace"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// Targets of receipts.
const (
	targetSigned   = 30_000 // a second
	targetUnsigned = 100_000
	targetDurable  = 5.0 // ms, p99 at openRate
	openRate       = 200 // a second
)

// receipts measures the journal and the log together.
func receipts(ctx context.Context, o Options) (*Result, error) {
	dir, err := o.folder("floor")
	if err != nil {
		return nil, err
	}
	synced, took, err := bareFsync(ctx, dir, min(o.For, 2*time.Second))
	if err != nil {
		return nil, err
	}
	fsync := figureOf(synced, "bare write and fsync of 1 KiB", took)
	r := &Result{Counts: map[string]uint64{}}
	size, sample := 0, filepath.Join(o.Dir, "sample")
	for _, kind := range []struct {
		name   string
		signed bool
		target float64
	}{{"signed", true, targetSigned}, {"unsigned", false, targetUnsigned}} {
		var t *pace.Times
		err := o.profiled("receipts-"+kind.name, func() (err error) {
			t, size, err = closedReceipts(ctx, o, kind.name, kind.signed, sample, r)
			return err
		})
		if err != nil {
			return nil, err
		}
		dir, err := o.folder("pebble-" + kind.name)
		if err != nil {
			return nil, err
		}
		bare, err := barePebble(ctx, dir, o.Submitters, size, o.warmup(), o.For)
		if err != nil {
			return nil, err
		}
		floor := figureOf(bare, fmt.Sprintf("bare Pebble, synced puts of %d B, as many submitters", size), o.For)
		f := figureOf(t, "", o.For)
		r.Parts = append(r.Parts, Measurement{Name: kind.name + " receipts", P50: f.P50, P99: f.P99, Rate: f.Rate, Floor: &floor, Ratio: over(f.Rate, floor.Rate),
			RatioOf: "rate over bare Pebble's (more is better)", Target: fmt.Sprintf(">= %d/s", int(kind.target)), Met: f.Rate >= kind.target})
	}
	open, err := openReceipts(ctx, o, r.Counts)
	if err != nil {
		return nil, err
	}
	f := figureOf(open, "", o.For)
	r.Parts = append(r.Parts, Measurement{Name: fmt.Sprintf("to signed checkpoint at %d/s", openRate), P50: f.P50, P99: f.P99, Rate: f.Rate, Floor: &fsync,
		Ratio: over(f.P50, fsync.P50), RatioOf: "p50 over bare fsync's p50 (less is better)", Target: fmt.Sprintf("p99 <= %g ms", targetDurable), Met: f.P99 <= targetDurable})
	if err := r.besideTessera(ctx, o, sample); err != nil {
		return nil, err
	}
	verify, err := verifyBundle(ctx, o, r.Counts)
	if err != nil {
		return nil, err
	}
	r.Parts = append(r.Parts, verify)
	r.Measurement, r.Parts = r.Parts[0], r.Parts[1:]
	r.Name = "receipts"
	r.Compared = fmt.Sprintf("Receipts of %d B, %d submitters, each durable and under a signed checkpoint before the next, every one signed (headline) or covered by the checkpoint, beside bare Pebble and bare fsync.", size, o.Submitters)
	return r, nil
}

// besideTessera adds the peer to the three measurements that r has so far: signed, unsigned, to the checkpoint.
func (r *Result) besideTessera(ctx context.Context, o Options, sample string) error {
	peer, err := tessera(ctx, o, sample)
	if err != nil {
		return err
	}
	if peer == nil {
		r.Notes = append(r.Notes, "no peer: bench-tessera is not beside this program, and its source is not in the working folder (make bench builds it)")
		return nil
	}
	for i := range r.Parts[:2] {
		r.Parts[i].Peer = &Figure{Name: "Tessera POSIX, the same entries, durable and integrated, not yet under a checkpoint", P50: peer.P50, P99: peer.P99, Rate: peer.Rate}
	}
	r.Parts[2].Peer = &Figure{Name: "Tessera POSIX, to a published checkpoint", P50: peer.CheckpointP50, P99: peer.CheckpointP99, Rate: openRate}
	r.Notes = append(r.Notes, fmt.Sprintf("beside Tessera POSIX (%s): %.3g times its rate signed, %.3g times unsigned; to a checkpoint in 1/%.3g of its p50",
		peer.Settings, r.Parts[0].Rate/peer.Rate, r.Parts[1].Rate/peer.Rate, peer.CheckpointP50/r.Parts[2].P50))
	return nil
}

// command is one made-up command whose receipts are written.
type command struct {
	subject string
	body    json.RawMessage
	step    int
}

// steps are the kinds of a life that goes well.
var steps = []string{receipt.CommandProposed, receipt.CommandAssessed, receipt.CommandAuthorized, receipt.CommandDispatched, receipt.CommandAcknowledged, receipt.CommandAligned}

// newCommand makes a command with a body of the size that gives an envelope of about 1 KiB.
func newCommand(who int, n uint64) (command, error) {
	id := vaultmesh.CommandID(fmt.Sprintf("bench-%d-%d", who, n))
	body, err := receipt.Body(receipt.ReasonBody{CommandRef: receipt.CommandRef{Command: id, Twin: "gen-10", Name: "setActivePower",
		ArgsDigest: vaultmesh.Sum([]byte(id))}, Reason: strings.Repeat("r", 40)})
	return command{subject: receipt.CommandSubject(id), body: body}, err
}

// submitter returns a function that appends the next receipt: of one command after the other, signed before its commit;
// or of telemetry batches, as the edge writes them, which the checkpoint alone covers and which form one chain.
func (t *truth) submitter(ctx context.Context, who int, size *atomic.Int64) func(n uint64) error {
	next := t.commands(who)
	if t.unsigned {
		next = t.batches()
	}
	return func(n uint64) error {
		add, err := next(n)
		if err != nil {
			return err
		}
		err = t.journal.Submit(ctx, journal.Commands, add)
		if err == nil && n == 0 && who == 0 {
			size.Store(int64(t.envelopeSize()))
		}
		return err
	}
}

// commands returns a function that prepares the next receipt of made-up commands.
func (t *truth) commands(who int) func(n uint64) (journal.Op, error) {
	var c command
	return func(n uint64) (op journal.Op, err error) {
		if c.step = int(n) % len(steps); c.step == 0 {
			if c, err = newCommand(who, n); err != nil {
				return nil, err
			}
		}
		p, err := t.log.Prepare(receipt.Draft{Kind: steps[c.step], Subject: c.subject, Actor: "node:bench", Time: time.Now(), Decision: "bench", Outcome: "done", Body: c.body})
		if err != nil {
			return nil, err
		}
		return func(tx journal.Tx) error {
			_, _, err := t.log.AppendPrepared(tx, p)
			return err
		}, nil
	}
}

// batches returns a function that makes the next receipt of telemetry batches. Its place in the one chain is not known
// before the commit, so it is encoded there.
func (t *truth) batches() func(n uint64) (journal.Op, error) {
	return func(n uint64) (journal.Op, error) {
		now := time.Now().UTC()
		body, err := receipt.Body(receipt.BatchBody{Root: vaultmesh.Sum(binary.BigEndian.AppendUint64(nil, n)), Count: 64, First: now.Truncate(time.Millisecond), Last: now.Truncate(time.Microsecond)})
		return func(tx journal.Tx) error {
			_, _, err := t.log.Append(tx, receipt.Draft{Kind: receipt.TelemetryBatch, Subject: receipt.TelemetrySubject(domain), Actor: "node:bench", Time: now, Body: body})
			return err
		}, err
	}
}

// envelopeSize returns the size of the first receipt of the log.
func (t *truth) envelopeSize() int {
	b, err := t.log.Receipt(0)
	if err != nil {
		return 0
	}
	return len(b)
}

// closedReceipts measures the highest rate.
func closedReceipts(ctx context.Context, o Options, name string, signed bool, sample string, r *Result) (*pace.Times, int, error) {
	dir, err := o.folder("receipts-" + name)
	if err != nil {
		return nil, 0, err
	}
	t, err := openTruth(dir, !signed, o.Log)
	if err != nil {
		return nil, 0, err
	}
	defer t.close()
	var size atomic.Int64
	var submitted atomic.Uint64
	all, err := pace.Closed(ctx, o.Submitters, o.warmup(), o.For, func(who int) func(uint64) error {
		submit := t.submitter(ctx, who, &size)
		return func(n uint64) error {
			err := submit(n)
			if err == nil {
				submitted.Add(1)
			}
			return err
		}
	})
	if err != nil {
		return nil, 0, err
	}
	if signed {
		if err := t.writeSample(sample); err != nil {
			return nil, 0, err
		}
		r.Notes = append(r.Notes, fmt.Sprintf("one core signs %.0f receipts/s and does nothing else: that is the ceiling of the signed rate", bareSign(t.receipts, o.For/10)))
	}
	r.Counts["acknowledged_"+name] = submitted.Load()
	r.Counts["in_log_"+name], err = t.audit(submitted.Load(), signed)
	return all, int(size.Load()), err
}

// openReceipts sends at a fixed rate, whatever the answers do; a time runs from the moment at which the receipt was due.
func openReceipts(ctx context.Context, o Options, counts map[string]uint64) (*pace.Times, error) {
	dir, err := o.folder("receipts-open")
	if err != nil {
		return nil, err
	}
	t, err := openTruth(dir, false, o.Log)
	if err != nil {
		return nil, err
	}
	defer t.close()
	var size atomic.Int64
	all, sent, err := pace.Open(ctx, openRate, o.For, func(i int) error { return t.submitter(ctx, i, &size)(0) })
	if err != nil {
		return nil, err
	}
	counts["acknowledged_open"] = sent
	counts["in_log_open"], err = t.audit(sent, true)
	return all, err
}

// audit checks that the log holds exactly what was acknowledged, under a checkpoint, and opens some of it.
func (t *truth) audit(acknowledged uint64, signed bool) (uint64, error) {
	const op = "bench.audit"
	cp := t.log.Checkpoint()
	if cp == nil || cp.Size != acknowledged {
		return 0, vaultmesh.Errorf(vaultmesh.Corrupt, op, "log", "%d receipts were acknowledged and the checkpoint covers another number: %+v", acknowledged, cp)
	}
	for i := uint64(0); i < cp.Size; i += max(cp.Size/1000, 1) {
		b, err := t.log.Receipt(vaultmesh.LogIndex(i))
		if err != nil {
			return 0, err
		}
		r, err := receipt.Open(b)
		if err != nil {
			return 0, err
		}
		if signed {
			if err := r.CheckSignature(t.receipts.Public().(ed25519.PublicKey)); err != nil {
				return 0, err
			}
		}
		if _, err := t.log.Inclusion(vaultmesh.LogIndex(i), cp.Size); err != nil {
			return 0, err
		}
	}
	return cp.Size, nil
}

// newKey makes a key for one run.
func newKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "bench.key", "", "cannot make a key").Because(err)
	}
	return key, nil
}
