package mcpapi

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// maxInline bounds a bundle within an answer, in bytes.
const maxInline = 256 << 10

// bundleMIME is the media type of a bundle.
const bundleMIME = "application/json"

type (
	proveIn struct {
		IDs    []vaultmesh.CommandID `json:"command_ids" jsonschema:"1 to 20 commands that the evidence shall cover" length:"1,20" id:"command"`
		Inline bool                  `json:"inline,omitempty" jsonschema:"true: with the bundle itself in the answer, if it has at most 256 KiB" default:"false"`
	}
	proveOut struct {
		Commands   []string       `json:"command_ids" jsonschema:"the commands"`
		SHA256     string         `json:"sha256" jsonschema:"digest of the bundle's text, in hexadecimal"`
		Bytes      int            `json:"bytes" jsonschema:"size of the bundle"`
		Domain     string         `json:"domain" jsonschema:"the domain that made it"`
		Receipts   int            `json:"receipts" jsonschema:"how many receipts it holds, each with its inclusion proof"`
		Parts      map[string]int `json:"parts" jsonschema:"how many parts of each type"`
		Origin     string         `json:"checkpoint_origin" jsonschema:"the log"`
		Size       string         `json:"checkpoint_size" jsonschema:"size of the log at the checkpoint that everything is proved to"`
		Timestamps []string       `json:"timestamps" jsonschema:"times that a time-stamping authority vouches for, verified against the roots that the node pins; empty where there is none"`
		Resources  []string       `json:"resources" jsonschema:"where each command's bundle can be read"`
		Inline     bool           `json:"inline" jsonschema:"whether the bundle is in this answer"`
		Next       []suggestion   `json:"next" jsonschema:"tool calls that make sense now"`
	}
)

var prove = define(tool{
	name: "prove", title: "Prove commands", hints: reads,
	description: "Collects the evidence of commands into a bundle that verifies offline, without trusting this node: signed receipts of every step, proofs that the log holds them, the checkpoint and its time-stamp, what people signed, and the telemetry that was observed. Answers a summary and a resource link; hand the bundle to whoever asks for proof.",
}, func(ctx context.Context, s *Server, c call, in proveIn) (proveOut, answer, error) {
	raw, err := c.backend.Bundle(ctx, c.caller, in.IDs)
	if err != nil {
		return proveOut{}, answer{}, helped(err, suggest("list_commands", "see which commands there are", nil))
	}
	b, err := receipt.DecodeBundle(raw)
	if err != nil {
		return proveOut{}, answer{}, vaultmesh.Wrap(err, "prove", "bundle")
	}
	sum := sha256.Sum256(raw)
	out := proveOut{SHA256: hex.EncodeToString(sum[:]), Bytes: len(raw), Domain: string(b.Domain), Parts: map[string]int{}, Timestamps: []string{}, Next: []suggestion{}}
	for _, p := range b.Parts {
		out.Parts[p.Type]++
		if p.Type == receipt.PartCheckpoint {
			out.Origin, out.Size = head(p.Data)
		}
	}
	out.Receipts = out.Parts[receipt.PartReceipt]
	if out.Timestamps, err = s.stamped(ctx, c.backend, b); err != nil {
		return proveOut{}, answer{}, err
	}
	a := answer{}
	for _, id := range in.IDs {
		uri := bundleURI(id)
		out.Commands = append(out.Commands, string(id))
		out.Resources = append(out.Resources, uri)
		l := link{uri: uri, name: "bundle of " + string(id), description: "Offline evidence of the command " + string(id), mime: bundleMIME}
		if len(in.IDs) == 1 {
			l.size = int64(len(raw))
		}
		a.links = append(a.links, l)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "A bundle of %d bytes (sha256 %s) proves %d commands with %d receipts, all under the checkpoint of size %s of %s.", out.Bytes, out.SHA256, len(in.IDs), out.Receipts, out.Size, out.Origin)
	switch {
	case len(out.Timestamps) > 0:
		fmt.Fprintf(&text, " Time-stamped %s.", strings.Join(out.Timestamps, ", "))
	case out.Parts[receipt.PartTimestamp] > 0:
		text.WriteString(" It has a time-stamp that this node cannot judge.")
	default:
		text.WriteString(" It has no time-stamp: nobody but the domain vouches for the times.")
	}
	if in.Inline {
		if len(raw) > maxInline {
			text.WriteString(" It is too large for this answer; read the resource.")
		} else {
			out.Inline = true
			a.blobs = append(a.blobs, blob{uri: bundleURI(in.IDs[0]), mime: bundleMIME, text: string(raw)})
		}
	}
	if len(in.IDs) == 1 {
		out.Next = append(out.Next, suggest("verify", "check the evidence", map[string]any{"command_id": in.IDs[0]}))
	}
	writeNext(&text, out.Next)
	a.text = text.String()
	return out, a, nil
})

// head reads origin and size of a checkpoint (C2SP tlog-checkpoint): its first two lines.
func head(note []byte) (origin, size string) {
	lines := strings.SplitN(string(note), "\n", 3)
	if len(lines) < 3 {
		return "", ""
	}
	if _, err := strconv.ParseUint(lines[1], 10, 64); err != nil {
		return "", ""
	}
	return clip(lines[0], 256), lines[1]
}

// stamped returns the times of the checkpoint's time-stamps that lead to a root which the node pins.
func (s *Server) stamped(ctx context.Context, backend Backend, b *receipt.Bundle) ([]string, error) {
	times := []string{}
	stamps := b.Stamps()
	if len(stamps) == 0 {
		return times, nil
	}
	trust, err := backend.Trust(ctx)
	if err != nil && vaultmesh.KindOf(err) == vaultmesh.NotFound {
		return times, nil // the time-stamps are there, and cannot be judged here
	}
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, pem := range trust.TSARoots {
		roots.AppendCertsFromPEM([]byte(pem))
	}
	for _, stamp := range stamps {
		if ts, err := receipt.VerifyTimestamp(stamp.Response, vaultmesh.Sum(stamp.Body), roots); err == nil {
			times = append(times, ts.Time.Format(time.RFC3339))
		}
	}
	return times, nil
}

type (
	verifyIn struct {
		ID     vaultmesh.CommandID `json:"command_id,omitempty" jsonschema:"a command whose evidence this node shall collect and check; send this or bundle" length:"0,128" id:"command"`
		Bundle string              `json:"bundle,omitempty" jsonschema:"the text of a bundle to check; send this or command_id"`
	}
	check struct {
		Name   string `json:"name" jsonschema:"what is checked"`
		OK     bool   `json:"ok" jsonschema:"whether it holds"`
		Detail string `json:"detail" jsonschema:"what was compared"`
	}
	verifyOut struct {
		OK     bool    `json:"ok" jsonschema:"every check holds"`
		SHA256 string  `json:"sha256" jsonschema:"digest of the bundle's text, in hexadecimal"`
		Total  int     `json:"checks_total" jsonschema:"how many checks were made"`
		Failed int     `json:"checks_failed" jsonschema:"how many do not hold"`
		Checks []check `json:"checks" jsonschema:"the checks, those that do not hold first, at most 200"`
		Caveat string  `json:"caveat" jsonschema:"what this answer is worth"`
	}
)

// maxChecks bounds the checks in an answer.
const maxChecks = 200

// caveat is told with every verification.
const caveat = "The keys that this check trusts were named by the node itself. An auditor pins the keys in a file obtained by another way and runs: " +
	"vaultmesh verify BUNDLE --trust FILE. That is the stronger check: a node that lies about its keys passes this one."

var verify = define(tool{
	name: "verify", title: "Verify evidence", hints: reads,
	description: "Checks the evidence of a command, or a bundle given as text: signatures, inclusion in the log, complete history, capability, approvals, telemetry, time-stamps. It trusts the keys that the node names as its own, which is weaker than an auditor's own pinned file.",
}, func(ctx context.Context, s *Server, c call, in verifyIn) (verifyOut, answer, error) {
	if (in.ID == "") == (in.Bundle == "") {
		return verifyOut{}, answer{}, vaultmesh.Errorf(vaultmesh.Invalid, "arguments", "", "want exactly one of command_id and bundle").WithFix("send command_id for a command of this node, or bundle for a text that you have")
	}
	select {
	case s.verifying <- struct{}{}:
		defer func() { <-s.verifying }()
	case <-ctx.Done():
		return verifyOut{}, answer{}, ctx.Err()
	}
	raw := []byte(in.Bundle)
	if in.ID != "" {
		var err error
		if raw, err = c.backend.Bundle(ctx, c.caller, []vaultmesh.CommandID{in.ID}); err != nil {
			return verifyOut{}, answer{}, helped(err, suggest("list_commands", "see which commands there are", nil))
		}
	}
	trust, err := c.backend.Trust(ctx)
	if err != nil {
		return verifyOut{}, answer{}, err
	}
	report := receipt.Verify(raw, trust)
	sum := sha256.Sum256(raw)
	broken := report.Failed()
	out := verifyOut{OK: report.OK, SHA256: hex.EncodeToString(sum[:]), Total: len(report.Checks), Failed: len(broken), Checks: []check{}, Caveat: caveat}
	add := func(x receipt.Check) {
		if len(out.Checks) < maxChecks {
			out.Checks = append(out.Checks, check{clip(x.Name, 256), x.OK, clip(x.Detail, 1024)})
		}
	}
	for _, x := range broken {
		add(x)
	}
	for _, x := range report.Checks {
		if x.OK {
			add(x)
		}
	}
	var text strings.Builder
	if out.OK {
		fmt.Fprintf(&text, "VERIFIED: all %d checks hold.", out.Total)
	} else {
		fmt.Fprintf(&text, "NOT VERIFIED: %d of %d checks do not hold.", out.Failed, out.Total)
		for _, x := range out.Checks[:min(out.Failed, 10)] {
			fmt.Fprintf(&text, "\n- %s: %s", x.Name, x.Detail)
		}
	}
	text.WriteString("\n" + caveat)
	return out, answer{text: text.String()}, nil
})
