package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Vocabulary is the namespace of the terms that PROV-O does not have; docs/evidence.md explains each.
const Vocabulary = "https://vaultmesh.org/prov/v1#"

// PROV verifies a bundle and returns the history of its commands as a graph of W3C PROV-O in JSON-LD 1.1 with its context
// inside, so that nothing is fetched to read it. The same input gives the same bytes.
//
//	entity    a command (a prov:Plan), its twin, each receipt, the policy, the capability, the checkpoint, each proof of time
//	activity  each step of a command's life: what the receipt records; it ended at the receipt's own time
//	agent     who took the step: proposer, approvers, node, device; and the domain on whose behalf the nodes act
//
// A step used the command, and what it rested on; it was informed by the step before; it generated its receipt. Times are
// the domain's own claims but for those of proofs of time.
func PROV(bundle []byte, t *receipt.Trust) ([]byte, error) {
	v, err := open(bundle, t)
	if err != nil {
		return nil, err
	}
	g, err := v.graph()
	if err != nil {
		return nil, err
	}
	return g.encode()
}

// graph is a set of nodes by identifier.
type graph struct {
	domain vaultmesh.Domain
	nodes  map[string]node
}

// node is one JSON-LD object. Relations are sets of identifiers.
type node struct {
	types  map[string]bool
	values map[string]string
	refs   map[string]map[string]bool
}

// add returns the node with the identifier that the parts make, with further types.
func (g *graph) add(kind, name string, types ...string) (string, node) {
	id := "urn:x-vaultmesh:" + string(g.domain) + ":" + kind + ":" + name
	n, ok := g.nodes[id]
	if !ok {
		n = node{types: map[string]bool{}, values: map[string]string{}, refs: map[string]map[string]bool{}}
		g.nodes[id] = n
	}
	for _, t := range types {
		n.types[t] = true
	}
	return id, n
}

func (n node) ref(relation string, ids ...string) {
	if n.refs[relation] == nil {
		n.refs[relation] = map[string]bool{}
	}
	for _, id := range ids {
		n.refs[relation][id] = true
	}
}

func (n node) set(name, value string) {
	if value != "" {
		n.values[name] = value
	}
}

// terms maps our short names to PROV-O and to our vocabulary. Every time is an xsd:dateTime, every integer travels as text.
func terms() map[string]any {
	c := map[string]any{"prov": "http://www.w3.org/ns/prov#", "xsd": "http://www.w3.org/2001/XMLSchema#", "rdfs": "http://www.w3.org/2000/01/rdf-schema#", "vm": Vocabulary, "id": "@id", "type": "@type", "label": "rdfs:label"}
	for _, relation := range []string{"wasGeneratedBy", "wasAttributedTo", "wasDerivedFrom", "used", "wasInformedBy", "wasAssociatedWith", "actedOnBehalfOf"} {
		c[relation] = map[string]any{"@id": "prov:" + relation, "@type": "@id"}
	}
	for _, relation := range []string{"target", "loggedIn", "covers"} {
		c[relation] = map[string]any{"@id": "vm:" + relation, "@type": "@id"}
	}
	for _, at := range []string{"generatedAtTime", "endedAtTime"} {
		c[at] = map[string]any{"@id": "prov:" + at, "@type": "xsd:dateTime"}
	}
	for _, number := range []string{"index", "size", "seq", "height"} {
		c[number] = map[string]any{"@id": "vm:" + number, "@type": "xsd:nonNegativeInteger"}
	}
	for _, text := range []string{"kind", "name", "arguments", "leaf", "digest", "decision", "outcome", "reason", "stage", "root", "origin", "source", "block", "state"} {
		c[text] = "vm:" + text
	}
	return c
}

// encode writes the nodes in the order of their identifiers.
func (g *graph) encode() ([]byte, error) {
	var list []any
	for _, id := range slices.Sorted(maps.Keys(g.nodes)) {
		n := g.nodes[id]
		object := map[string]any{"id": id, "type": slices.Sorted(maps.Keys(n.types))}
		for name, value := range n.values {
			object[name] = value
		}
		for relation, ids := range n.refs {
			object[relation] = slices.Sorted(maps.Keys(ids))
		}
		list = append(list, object)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(map[string]any{"@context": terms(), "@graph": list}); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "export.prov", "", "the graph cannot be encoded").Because(err)
	}
	return b.Bytes(), nil
}

// graph makes the nodes of all commands of the bundle.
func (v *verified) graph() (*graph, error) {
	g := &graph{domain: v.bundle.Domain, nodes: map[string]node{}}
	byIndex := map[uint64]*entry{}
	commands := 0
	for i := range v.receipts {
		byIndex[v.receipts[i].index] = &v.receipts[i]
		if _, ok := receipt.CommandState(v.receipts[i].Kind); ok {
			commands++
		}
	}
	if commands == 0 {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "export.prov", "", "the bundle holds no command").WithFix("fetch one with `vaultmesh bundle`")
	}
	checkpoint, c := g.add("checkpoint", strconv.FormatUint(v.report.LogSize, 10), "prov:Entity", "vm:Checkpoint")
	c.set("size", strconv.FormatUint(v.report.LogSize, 10))
	c.set("root", v.report.LogRoot.String())
	c.set("origin", v.origin)
	for i := range v.receipts {
		if err := g.step(&v.receipts[i], byIndex, checkpoint); err != nil {
			return nil, vaultmesh.Wrap(err, "export.prov", v.receipts[i].Subject)
		}
	}
	for i, a := range v.report.Anchors {
		g.anchor(i, a, checkpoint, v.report.LogSize)
	}
	return g, nil
}

// anchor adds a verified proof of time.
func (g *graph) anchor(i int, a receipt.ProvedAnchor, checkpoint string, size uint64) {
	if a.Size != size {
		id, c := g.add("checkpoint", strconv.FormatUint(a.Size, 10), "prov:Entity", "vm:Checkpoint")
		c.set("size", strconv.FormatUint(a.Size, 10))
		checkpoint = id
	}
	_, n := g.add("time", strconv.Itoa(i), "prov:Entity", "vm:ProofOfTime")
	n.set("kind", a.Kind)
	n.set("source", a.Source)
	n.set("block", a.Block)
	if a.Height > 0 {
		n.set("height", strconv.FormatUint(a.Height, 10))
	}
	n.set("generatedAtTime", dateTime(a.Time))
	n.ref("covers", checkpoint)
	n.ref("wasDerivedFrom", checkpoint)
}

func dateTime(t time.Time) string { return t.UTC().Format(receipt.TimeFormat) }

// receipt adds the entity of a receipt.
func (g *graph) receipt(e *entry, checkpoint string) (string, node) {
	id, n := g.add("receipt", strconv.FormatUint(e.index, 10), "prov:Entity", "vm:Receipt")
	n.set("kind", e.Kind)
	n.set("index", strconv.FormatUint(e.index, 10))
	n.set("seq", strconv.FormatUint(e.Seq, 10))
	n.set("leaf", e.Leaf.String())
	n.set("decision", e.Decision)
	n.set("outcome", e.Outcome)
	n.set("generatedAtTime", dateTime(e.Time))
	n.ref("wasAttributedTo", g.agent(e.Actor))
	n.ref("loggedIn", checkpoint)
	return id, n
}

// step adds a receipt of a command's life with all that it tells.
func (g *graph) step(e *entry, byIndex map[uint64]*entry, checkpoint string) error {
	state, ok := receipt.CommandState(e.Kind)
	if !ok {
		return nil // support; it is added where a step rests on it
	}
	id, r := g.receipt(e, checkpoint)
	activity, a := g.add("step", strconv.FormatUint(e.index, 10), "prov:Activity", "vm:Step")
	r.ref("wasGeneratedBy", activity)
	a.set("state", state)
	a.set("label", strings.ReplaceAll(state, "_", " "))
	a.set("endedAtTime", dateTime(e.Time))
	a.ref("wasAssociatedWith", g.agent(e.Actor))
	for _, cause := range append(slices.Clone(e.Causes), previous(e)...) {
		from, ok := byIndex[uint64(cause.Index)]
		if !ok {
			other, n := g.add("receipt", strconv.FormatUint(uint64(cause.Index), 10), "prov:Entity", "vm:Receipt") // not in the bundle
			n.set("index", strconv.FormatUint(uint64(cause.Index), 10))
			n.set("leaf", cause.Leaf.String())
			r.ref("wasDerivedFrom", other)
			a.ref("used", other)
			continue
		}
		other, _ := g.receipt(from, checkpoint)
		r.ref("wasDerivedFrom", other)
		a.ref("used", other)
		if _, ok := receipt.CommandState(from.Kind); ok {
			before, _ := g.add("step", strconv.FormatUint(from.index, 10), "prov:Activity", "vm:Step")
			a.ref("wasInformedBy", before)
		}
	}
	if !e.Policy.IsZero() {
		policy, p := g.add("policy", hexOf(e.Policy), "prov:Entity", "prov:Plan", "vm:Policy")
		p.set("digest", e.Policy.String())
		a.ref("used", policy)
	}
	if !e.Capability.IsZero() {
		capability, c := g.add("capability", hexOf(e.Capability), "prov:Entity", "vm:Capability")
		c.set("digest", e.Capability.String())
		a.ref("used", capability)
	}
	return g.body(e, a, id)
}

func previous(e *entry) []receipt.Ref {
	if e.Prev == nil {
		return nil
	}
	return []receipt.Ref{*e.Prev}
}

func hexOf(d vaultmesh.Digest) string { return strings.TrimPrefix(d.String(), "sha256:") }

// body adds what the body of a step tells. A body has been read by Verify already.
func (g *graph) body(e *entry, a node, id string) error {
	ref, err := commandOf(e)
	if err != nil {
		return err
	}
	command, c := g.add("command", string(ref.Command), "prov:Entity", "prov:Plan", "vm:Command")
	a.ref("used", command)
	switch e.Kind {
	case receipt.CommandProposed:
		b, err := receipt.ReadBody[receipt.ProposedBody](&e.Receipt)
		if err != nil {
			return err
		}
		twin, _ := g.add("twin", string(b.Twin), "prov:Entity", "vm:Twin")
		c.set("name", b.Name)
		c.set("arguments", string(b.Args))
		c.set("label", fmt.Sprintf("%s on %s", b.Name, b.Twin))
		c.set("generatedAtTime", dateTime(e.Time))
		c.ref("target", twin)
		c.ref("wasAttributedTo", g.agent(e.Actor))
		c.ref("wasGeneratedBy", stepOf(id))
		// The command comes into being by its proposal, which therefore did not use it.
		delete(a.refs["used"], command)
		a.set("reason", b.Reason)
	case receipt.CommandApproved:
		b, err := receipt.ReadBody[receipt.ApprovedBody](&e.Receipt)
		if err != nil {
			return err
		}
		for _, s := range b.Approvals {
			a.ref("wasAssociatedWith", g.agent(s.Approver))
		}
	case receipt.CommandDispatched:
		b, err := receipt.ReadBody[receipt.DispatchedBody](&e.Receipt)
		if err != nil {
			return err
		}
		a.ref("wasAssociatedWith", g.agent(vaultmesh.Principal("device:"+b.Device)))
	case receipt.CommandAcknowledged, receipt.CommandRefused:
		b, err := receipt.ReadBody[receipt.ResponseBody](&e.Receipt)
		if err != nil {
			return err
		}
		a.ref("wasAssociatedWith", g.agent(vaultmesh.Principal("device:"+b.Device)))
		a.set("reason", b.Detail)
	case receipt.CommandDenied, receipt.CommandRejected, receipt.CommandExpired, receipt.CommandTimedOut, receipt.CommandCancelled, receipt.CommandHalted:
		b, err := receipt.ReadBody[receipt.ReasonBody](&e.Receipt)
		if err != nil {
			return err
		}
		a.set("reason", b.Reason)
		a.set("stage", b.Stage)
	}
	return nil
}

// stepOf is the identifier of the step that generated a receipt.
func stepOf(receipt string) string { return strings.Replace(receipt, ":receipt:", ":step:", 1) }

// commandOf reads the members with which every body of a command begins.
func commandOf(e *entry) (receipt.CommandRef, error) {
	var ref receipt.CommandRef
	if err := json.Unmarshal(e.Body, &ref); err != nil || ref.Command == "" {
		return ref, vaultmesh.Errorf(vaultmesh.Internal, "export.prov", e.Subject, "a command's receipt without its command").Because(err)
	}
	return ref, nil
}

// agent adds who acts.
func (g *graph) agent(p vaultmesh.Principal) string {
	kind, _, _ := strings.Cut(string(p), ":")
	types := []string{"prov:Agent"}
	switch kind {
	case "operator":
		types = append(types, "prov:Person")
	case "agent", "device", "node":
		types = append(types, "prov:SoftwareAgent")
	}
	id, n := g.add("principal", string(p), types...)
	n.set("label", string(p))
	if kind == "node" {
		domain, d := g.add("domain", string(g.domain), "prov:Agent", "prov:Organization")
		d.set("label", string(g.domain))
		n.ref("actedOnBehalfOf", domain)
	}
	return id
}
