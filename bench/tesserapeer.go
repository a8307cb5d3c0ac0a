package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"vaultmesh.org/vaultmesh"
)

// sampleEntries is how many of our receipts the peer is given, over and over.
const sampleEntries = 20_000

// tesseraResult is what the peer program prints; see bench/tessera.
type tesseraResult struct {
	Rate          float64 `json:"rate"`
	P50           float64 `json:"p50_ms"`
	P99           float64 `json:"p99_ms"`
	CheckpointP50 float64 `json:"checkpoint_p50_ms"`
	CheckpointP99 float64 `json:"checkpoint_p99_ms"`
	Settings      string  `json:"settings"`
}

// writeSample keeps receipts of t for the peer.
func (t *truth) writeSample(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "bench.tessera", path, "cannot create").Because(err)
	}
	w := bufio.NewWriter(f)
	for i := range min(sampleEntries, t.log.Checkpoint().Size) {
		e, err := t.log.Receipt(vaultmesh.LogIndex(i))
		if err != nil {
			return errors.Join(err, f.Close())
		}
		_, _ = w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(e)))) // Flush tells of every error before it
		_, _ = w.Write(e)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "bench.tessera", path, "cannot write").Because(err)
	}
	return nil
}

// tesseraProgram finds the peer: where o says, beside this program, or built from the source in the working folder. It is
// empty where there is none of these.
func tesseraProgram(ctx context.Context, o Options) (string, error) {
	if o.Tessera != "" {
		return o.Tessera, nil
	}
	if self, err := os.Executable(); err == nil {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), "bench-tessera")); err == nil {
			return path, nil
		}
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil || !bytes.HasPrefix(mod, []byte("module vaultmesh.org/vaultmesh\n")) {
		return "", nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return "", nil
	}
	path := filepath.Join(o.Dir, "bench-tessera")
	if out, err := child(ctx, "go", "build", "-trimpath", "-o", path, "./bench/tessera").CombinedOutput(); err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Unavailable, "bench.tessera", "./bench/tessera", "the peer cannot be built: %.400s", out).Because(err)
	}
	return path, nil
}

// tessera runs the peer on the entries in sample; nil where its program is not there.
func tessera(ctx context.Context, o Options, sample string) (*tesseraResult, error) {
	program, err := tesseraProgram(ctx, o)
	if err != nil || program == "" {
		return nil, err
	}
	dir, err := o.folder("tessera")
	if err != nil {
		return nil, err
	}
	cmd := child(ctx, program, "-dir", filepath.Join(dir, "log"), "-entries", sample, "-submitters", fmt.Sprint(o.Submitters),
		"-seconds", fmt.Sprint(o.For.Seconds()), "-rate", fmt.Sprint(openRate))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "bench.tessera", program, "the peer failed: %.400s", said.String()).Because(err)
	}
	var r tesseraResult
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "bench.tessera", program, "the peer's answer cannot be read").Because(err)
	}
	return &r, nil
}
