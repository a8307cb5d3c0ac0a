package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/receipt"
)

func (s *story) tampered(ctx context.Context) (string, error) {
	ch, err := s.operator.Challenge(ctx, s.twice)
	if err != nil {
		return "", err
	}
	key := s.person.PrivateKey()
	s.approval = control.Approval{Approver: s.person.Principal, Key: receipt.KeyID(public(key)), Signature: receipt.SignApproval(key, ch)}
	forged := ch
	forged.Twin = grid.ShuntID(34)
	later := ch
	later.Expires = ch.Expires.Add(time.Hour)
	flipped := bytes.Clone(s.approval.Signature)
	flipped[7] ^= 1
	for name, sig := range map[string][]byte{"another twin": receipt.SignApproval(key, forged), "a later expiry": receipt.SignApproval(key, later), "a flipped bit": flipped} {
		a := s.approval
		a.Signature = sig
		if _, err := s.operator.Approve(ctx, s.twice, a); vaultmesh.KindOf(err) != vaultmesh.Denied {
			return "", fmt.Errorf("an approval with %s was answered with %v", name, err)
		}
	}
	// The agent's own signature is worth nothing: it may not approve at all.
	agent, err := node.LoadCredential(s.w.Credential(node.DevAgent))
	if err != nil {
		return "", err
	}
	client, err := agent.Client()
	if err != nil {
		return "", err
	}
	defer client.Close()
	self := control.Approval{Approver: agent.Principal, Key: receipt.KeyID(public(agent.PrivateKey())), Signature: receipt.SignApproval(agent.PrivateKey(), ch)}
	if _, err := client.Approve(ctx, s.twice, self); vaultmesh.KindOf(err) != vaultmesh.Denied {
		return "", fmt.Errorf("the agent approved its own command: %v", err)
	}
	c, err := s.operator.Command(ctx, s.twice)
	if err == nil && (c.State != control.AwaitingApproval || len(c.Approvals) != 0) {
		err = fmt.Errorf("the command is %s", c.State)
	}
	return "signatures over another twin, a later expiry, with a flipped bit, and by the agent itself: all refused, nothing changed", err
}

func (s *story) replayed(ctx context.Context) (string, error) {
	if _, err := s.operator.Approve(ctx, s.twice, s.approval); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		return "", fmt.Errorf("a replayed approval was answered with %v", err)
	}
	before, err := s.operator.Checkpoint(ctx)
	if err != nil {
		return "", err
	}
	v, err := s.agent.propose(ctx, grid.GenID(10, 0), grid.SetActivePower, map[string]any{"megawatts": 440}, "story-safe", "retry")
	if err != nil {
		return "", err
	}
	if !v.Replayed || v.ID != s.commands[0] {
		return "", fmt.Errorf("a retry made command %s", v.ID)
	}
	if err := s.stolen(ctx); err != nil {
		return "", err
	}
	acts, err := s.acts()
	if err != nil {
		return "", err
	}
	if acts[s.twice] != 1 || acts[s.commands[0]] != 1 {
		return "", fmt.Errorf("the grid acted %d and %d times", acts[s.twice], acts[s.commands[0]])
	}
	return fmt.Sprintf("approval, proposal and HTTP request replayed, token used without its key: refused or answered with the first result (log at %d)", sizeOf(before)), nil
}

// stolen sends one signed request twice, and a stolen token with a stranger's signature.
func (s *story) stolen(ctx context.Context) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.person.CA))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	const where = "/v1/halt"
	target := capability.Target{Domain: s.person.Domain, Method: http.MethodGet, Path: where, Body: vaultmesh.Sum(nil)}
	ask := func(proof string) (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.person.URL+where, nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set(httpapi.CapabilityHeader, s.person.Token)
		if proof != "" {
			req.Header.Set(httpapi.ProofHeader, proof)
		}
		res, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
		return res.StatusCode, errors.Join(err, res.Body.Close())
	}
	good := capability.SignProof(s.person.PrivateKey(), target, time.Now(), "story-nonce-0123456789")
	agent, err := node.LoadCredential(s.w.Credential(node.DevAgent))
	if err != nil {
		return err
	}
	bad := capability.SignProof(agent.PrivateKey(), target, time.Now(), "story-nonce-9876543210")
	for _, x := range []struct {
		name, proof string
		want        int
	}{{"a signed request", good, 200}, {"the same request again", good, 401}, {"the token with another's signature", bad, 401}, {"the token alone", "", 401}} {
		status, err := ask(x.proof)
		if err != nil {
			return err
		}
		if status != x.want {
			return fmt.Errorf("%s was answered with status %d, want %d", x.name, status, x.want)
		}
	}
	return nil
}

// acts counts from the grid's own log how often it carried out each command.
func (s *story) acts() (map[vaultmesh.CommandID]int, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, "grid.log"))
	if err != nil {
		return nil, err
	}
	out := map[vaultmesh.CommandID]int{}
	for _, line := range strings.Split(string(b), "\n") {
		if !strings.Contains(line, "msg=command ") || !strings.Contains(line, "ok=true") {
			continue
		}
		for _, f := range strings.Fields(line) {
			if id, ok := strings.CutPrefix(f, "id="); ok {
				out[vaultmesh.CommandID(id)]++
			}
		}
	}
	return out, nil
}
