package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh/receipt"
)

// prefix checks that the checkpoint is a prefix of the present log, by an RFC 6962 consistency proof.
func (s *story) prefix(ctx context.Context, before []byte) error {
	v, err := note.NewVerifier(s.trust.Log.Key)
	if err != nil {
		return err
	}
	now, err := s.operator.Checkpoint(ctx)
	if err != nil {
		return err
	}
	a, _, _, err := log.ParseCheckpoint(before, s.trust.Log.Origin, v)
	if err != nil {
		return err
	}
	b, _, _, err := log.ParseCheckpoint(now, s.trust.Log.Origin, v)
	if err != nil {
		return err
	}
	hashes, err := s.operator.Consistency(ctx, a.Size, b.Size)
	if err != nil {
		return err
	}
	path := make([][]byte, len(hashes))
	for i := range hashes {
		path[i] = hashes[i][:]
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, a.Size, b.Size, path, a.Hash, b.Hash)
}

func sizeOf(checkpoint []byte) uint64 {
	var c log.Checkpoint
	if _, err := c.Unmarshal(checkpoint); err != nil {
		return 0
	}
	return c.Size
}

func (s *story) proved(ctx context.Context) (string, error) {
	b, err := s.operator.Bundle(ctx, s.commands...)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(s.result.Bundle, b, 0o644); err != nil {
		return "", err
	}
	r, err := s.verify(ctx, s.result.Bundle)
	if err != nil {
		return "", err
	}
	if !r.OK {
		return "", fmt.Errorf("rejected: %+v", r.Failed()[0])
	}
	detail := fmt.Sprintf("%d commands, %d bytes, %d checks hold", len(s.commands), len(b), len(r.Checks))
	foreign, err := s.openssl(ctx, b)
	return detail + foreign, err
}

// verify runs the verifier as an auditor would: a process with two files and nothing else.
func (s *story) verify(ctx context.Context, bundle string) (receipt.Report, error) {
	cmd := exec.CommandContext(ctx, s.bin, "verify", bundle, "--trust", s.result.Trust, "--json")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return receipt.Report{}, err
	}
	var r receipt.Report
	if err := json.Unmarshal(out, &r); err != nil {
		return receipt.Report{}, fmt.Errorf("the verifier said %q: %w", out, err)
	}
	if code := cmd.ProcessState.ExitCode(); (code == 0) != r.OK || code > 1 {
		return r, fmt.Errorf("the verifier ended with status %d and ok %v", code, r.OK)
	}
	return r, nil
}

// openssl has the timestamp checked by a tool that is not ours, where it is installed.
func (s *story) openssl(ctx context.Context, bundle []byte) (string, error) {
	tool, err := exec.LookPath("openssl")
	if err != nil {
		return "; openssl is not installed, so it was not asked about the time stamp", nil
	}
	b, err := receipt.DecodeBundle(bundle)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.dir, "openssl")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	stamps := b.Stamps()
	if len(stamps) == 0 {
		return "", errors.New("the bundle has no time stamp")
	}
	for name, data := range map[string][]byte{"checkpoint.body": stamps[0].Body, "checkpoint.tsr": stamps[0].Response} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return "", err
		}
	}
	out, err := exec.CommandContext(ctx, tool, "ts", "-verify", "-data", filepath.Join(dir, "checkpoint.body"), "-in", filepath.Join(dir, "checkpoint.tsr"), "-CAfile", s.w.TSA.Roots).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Verification: OK")) {
		return "", fmt.Errorf("openssl ts -verify says %q (%w)", out, err)
	}
	return "; openssl ts -verify accepts the time stamp", nil
}

func (s *story) altered(ctx context.Context) (string, error) {
	b, err := os.ReadFile(s.result.Bundle)
	if err != nil {
		return "", err
	}
	b[len(b)/2] ^= 1
	bad := filepath.Join(s.dir, "bundle-altered.json")
	if err := os.WriteFile(bad, b, 0o600); err != nil {
		return "", err
	}
	r, err := s.verify(ctx, bad)
	if err != nil {
		return "", err
	}
	if r.OK {
		return "", errors.New("it is accepted")
	}
	return fmt.Sprintf("byte %d of %d flipped: %s", len(b)/2, len(b), r.Failed()[0].Name), nil
}
