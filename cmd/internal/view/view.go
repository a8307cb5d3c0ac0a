// Package view is what the browser page asks of the verifier: a judgement over two files, with the parts of the bundle
// and what is wrong with each. It is on floor 7 and has neither files nor network, so that it runs in WebAssembly.
package view

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh/receipt"
)

// Options are the choices of the page.
type Options struct {
	Complete bool      `json:"complete"`
	Size     uint64    `json:"size,string"` // of a head that the auditor knows; 0: none
	Root     string    `json:"root"`        // of that head
	Head     string    `json:"head"`        // a signed checkpoint instead
	Now      time.Time `json:"now"`         // the browser's clock
}

// View is what the page shows.
type View struct {
	Error  string          `json:"error,omitempty"` // the files cannot be used; nothing else is set
	Report *receipt.Report `json:"report,omitempty"`
	Parts  []Part          `json:"parts"`
}

// Part is one part of the bundle.
type Part struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Bytes  int      `json:"bytes"`
	Failed []string `json:"failed,omitempty"` // what is wrong with it; empty where nothing was found
}

// Judge verifies a bundle by a trust file.
func Judge(bundle, trust, options []byte) View {
	var o Options
	if err := json.Unmarshal(options, &o); err != nil {
		return View{Error: "the options cannot be read: " + err.Error()}
	}
	t, err := receipt.LoadTrust(trust)
	if err != nil {
		return View{Error: "The trust file cannot be used. " + err.Error()}
	}
	if start := bytes.TrimLeft(bundle, " \t\r\n"); len(start) == 0 {
		return View{Error: "The bundle is empty."}
	}
	d := receipt.Demand{Complete: o.Complete, Size: o.Size, Head: []byte(o.Head), Now: o.Now}
	if o.Root != "" {
		if err := d.Root.UnmarshalText([]byte(o.Root)); err != nil {
			return View{Error: "The root that you know is not a digest. " + err.Error()}
		}
	}
	r := d.Verify(bundle, t)
	onPage(&r)
	v := View{Report: &r, Parts: list(bundle)}
	for _, c := range r.Checks {
		if !c.OK && c.Judged() {
			v.blame(c)
		}
	}
	return v
}

// flags are the places where a report tells the user of a command line what to type, and what a page has instead.
var flags = strings.NewReplacer(
	"pass --head FILE with a signed checkpoint", "open “Ask for more” on this page, and choose a file with a signed checkpoint",
	"--expect-size N with --expect-root sha256:…", "write the log's size and root that you know there",
	"(--head)", "(give one under “Ask for more”)",
)

// onPage puts what a page has in the place of flags.
func onPage(r *receipt.Report) {
	for i := range r.Checks {
		r.Checks[i].Detail = flags.Replace(r.Checks[i].Detail)
	}
	for i := range r.NotProved {
		r.NotProved[i] = flags.Replace(r.NotProved[i])
	}
}

// list reads the parts even of a bundle that is refused, as long as it is JSON of the right shape.
func list(bundle []byte) []Part {
	parts := []Part{}
	if len(bundle) > receipt.MaxBundle {
		return parts
	}
	if b, err := receipt.DecodeBundle(bundle); err == nil {
		for _, p := range b.Parts {
			parts = append(parts, Part{Name: p.Name, Type: p.Type, Bytes: len(p.Data)})
		}
		return parts
	}
	var loose struct {
		Parts []struct {
			Name, Type, SHA256 string
			Data               []byte
		}
	}
	if json.Unmarshal(bundle, &loose) != nil || len(loose.Parts) > receipt.MaxParts {
		return parts
	}
	for _, p := range loose.Parts {
		x := Part{Name: p.Name, Type: p.Type, Bytes: len(p.Data)}
		if sum := sha256.Sum256(p.Data); hex.EncodeToString(sum[:]) != p.SHA256 {
			x.Failed = append(x.Failed, "it does not have the digest that stands beside it: it was altered")
		}
		parts = append(parts, x)
	}
	return parts
}

// blame adds a failed check to the parts that its name points to.
func (v *View) blame(c receipt.Check) {
	_, item, ok := strings.Cut(strings.TrimSuffix(c.Name, "]"), "[")
	var names []string
	var index uint64
	switch family, _, _ := strings.Cut(c.Name, "["); {
	case family == "log.checkpoint":
		names = []string{"checkpoint"}
	case family == "bundle.scope":
		names = []string{"scope"}
	case !ok:
		return
	case family == "receipt.inclusion" && number(item, &index):
		names = []string{fmt.Sprintf("receipts/%010d.tlog-proof", index)}
	case strings.HasPrefix(family, "receipt.") && number(item, &index):
		names = []string{fmt.Sprintf("receipts/%010d.dsse.json", index)}
	case family == "timestamp.rfc3161" || strings.HasPrefix(family, "anchor."):
		if size, file, ok := strings.Cut(item, " "); ok && number(size, &index) {
			names = []string{fmt.Sprintf("anchors/%010d/%s", index, file)}
		}
	case family == "telemetry.proof":
		if batch, position, ok := strings.Cut(item, "-"); ok && number(batch, &index) {
			names = []string{fmt.Sprintf("telemetry/%010d-%s.json", index, position)}
		}
	default:
		names = []string{item}
	}
	for i := range v.Parts {
		for _, name := range names {
			if v.Parts[i].Name == name {
				v.Parts[i].Failed = append(v.Parts[i].Failed, c.Detail)
			}
		}
	}
}

func number(text string, n *uint64) bool {
	_, err := fmt.Sscanf(text+"\n", "%d\n", n)
	return err == nil
}

// JSON returns the view as one line.
func (v View) JSON() []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(`{"error":"the judgement cannot be written","parts":[]}`)
	}
	return b
}
