package witness_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/receipt"
)

// A log that we did not write (Tessera) gets its checkpoints cosigned by our witness: both sides of the protocol agree.
func TestTesseraIsWitnessed(t *testing.T) {
	x := newTree(t, "example.com/tessera", "1")
	signer, vkey := key(t, "witness.example/w1")
	s := serve(t, witness.ServerOptions{Signer: signer, Logs: []note.Verifier{x.verify}})
	f := &front{next: s}
	web := httptest.NewServer(f)
	defer web.Close()
	text := fmt.Appendf(nil, "log %s\nwitness w1 %s %s\nquorum w1\n", x.vkey, vkey, web.URL)
	theirs, err := tessera.NewWitnessGroupFromPolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := receipt.ParseWitnessPolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	driver, err := posix.New(ctx, posix.Config{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().WithCheckpointSigner(x.signer).WithCheckpointInterval(100*time.Millisecond).
		WithBatching(64, 5*time.Millisecond).WithWitnesses(theirs, &tessera.WitnessOptions{Timeout: 10 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 20*time.Millisecond)
	for i := range 4 {
		_, cp, err := awaiter.Await(ctx, appender.Add(ctx, tessera.NewEntry(fmt.Appendf(nil, "entry %d", i))))
		if err != nil {
			t.Fatal(err)
		}
		if !theirs.Satisfied(cp) || !ours.Satisfied(cp) {
			t.Fatalf("checkpoint %d is published without the witness:\n%s", i, cp)
		}
	}
	if err := shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Held(nameOf("example.com/tessera")); len(got) == 0 || f.asked() < 4 {
		t.Fatalf("the witness holds %q after %d requests", got, f.asked())
	}
}
