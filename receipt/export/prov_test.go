package export

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piprate/json-gold/ld"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

const (
	provNS = "http://www.w3.org/ns/prov#"
	idOf   = "urn:x-vaultmesh:sample:"
)

// command logs the life of a command and returns the log as a verified bundle would be.
func command(t *testing.T) *verified {
	t.Helper()
	d := newDomain(t)
	ref := receipt.CommandRef{Command: "01J", Twin: "line-9-10", Name: "open", ArgsDigest: vaultmesh.Sum([]byte("{}"))}
	step := func(state string, actor vaultmesh.Principal, body any, causes ...receipt.Ref) receipt.Ref {
		return d.append(receipt.Draft{Kind: receipt.CommandKind(state), Subject: receipt.CommandSubject("01J"), Actor: actor, Capability: vaultmesh.Sum([]byte("block")), Policy: vaultmesh.Sum([]byte("policy"))}, body, causes...)
	}
	proposed := step("proposed", "agent:dispatcher", &receipt.ProposedBody{CommandRef: ref, Args: json.RawMessage(`{}`), IdempotencyKey: "k", TwinVersion: 3, Expires: start.Add(time.Hour), Reason: "line is overloaded"})
	assessed := step("assessed", "node:sample", &receipt.AssessedBody{CommandRef: ref, TwinVersion: 3}, proposed)
	step("approved", "operator:alice", &receipt.ApprovedBody{CommandRef: ref, Challenge: vaultmesh.Sum([]byte("c")), Approvals: []receipt.SignedApproval{{Approver: "operator:alice", Key: d.key.KeyID(), Signature: make([]byte, 64), Time: start}, {Approver: "operator:bob", Key: d.key.KeyID(), Signature: make([]byte, 64), Time: start}}}, assessed)
	step("authorized", "node:sample", &receipt.AuthorizedBody{CommandRef: ref})
	step("dispatched", "node:sample", &receipt.DispatchedBody{CommandRef: ref, Device: "sub-9", Expires: start.Add(time.Hour)})
	step("acknowledged", "node:sample", &receipt.ResponseBody{CommandRef: ref, Device: "sub-9", Code: "ok"})
	d.halts(1)
	step("aligned", "node:sample", &receipt.ObservedBody{CommandRef: ref, Observed: map[string]receipt.Observation{}}, receipt.Ref{Index: 77, Leaf: vaultmesh.Sum([]byte("elsewhere"))})
	v := &verified{bundle: &receipt.Bundle{Domain: "sample"}, origin: origin, report: receipt.Report{OK: true, LogSize: 90, LogRoot: vaultmesh.Sum([]byte("root")),
		Anchors: []receipt.ProvedAnchor{{Kind: "rfc3161", Size: 90, Time: start.Add(time.Minute), Source: "a TSA"}, {Kind: "ethereum", Size: 95, Time: start.Add(time.Hour), Source: "eip155:1", Height: 7, Block: "0x1"}}}}
	for i, e := range d.Envelopes {
		r, err := receipt.Open(e)
		if err != nil {
			t.Fatal(err)
		}
		v.receipts = append(v.receipts, entry{Receipt: r, index: uint64(i), envelope: e})
	}
	return v
}

// expand reads the graph with a foreign JSON-LD processor, which may fetch nothing.
func expand(t *testing.T, text []byte) map[string]map[string]any {
	t.Helper()
	doc, err := ld.DocumentFromReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	o := ld.NewJsonLdOptions("")
	o.ProcessingMode = ld.JsonLd_1_1
	o.SafeMode = true // a member that the context does not define is an error
	o.DocumentLoader = ld.NewCachingDocumentLoader(nothing{})
	list, err := ld.NewJsonLdProcessor().Expand(doc, o)
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]map[string]any{}
	for _, n := range list {
		m := n.(map[string]any)
		nodes[m["@id"].(string)] = m
	}
	return nodes
}

// nothing is a loader that refuses.
type nothing struct{}

func (nothing) LoadDocument(u string) (*ld.RemoteDocument, error) {
	return nil, ld.NewJsonLdError(ld.LoadingDocumentFailed, "fetches "+u)
}

// ids are what a relation of an expanded node leads to.
func ids(n map[string]any, relation string) (list []string) {
	values, _ := n[relation].([]any)
	for _, v := range values {
		list = append(list, v.(map[string]any)["@id"].(string))
	}
	slices.Sort(list)
	return list
}

func is(n map[string]any, class string) bool {
	types, _ := n["@type"].([]any)
	return slices.Contains(types, any(class))
}

func one(n map[string]any, name string) (value, kind string) {
	list, _ := n[name].([]any)
	if len(list) != 1 {
		return "", ""
	}
	m := list[0].(map[string]any)
	value, _ = m["@value"].(string)
	kind, _ = m["@type"].(string)
	return value, kind
}

// The domain and range of PROV-O's properties.
var shapes = map[string][2]string{
	"wasGeneratedBy": {"Entity", "Activity"}, "wasAttributedTo": {"Entity", "Agent"}, "wasDerivedFrom": {"Entity", "Entity"}, "used": {"Activity", "Entity"},
	"wasInformedBy": {"Activity", "Activity"}, "wasAssociatedWith": {"Activity", "Agent"}, "actedOnBehalfOf": {"Agent", "Agent"},
}

// wellFormed checks a graph against PROV-O and PROV-CONSTRAINTS: each relation has its domain and range, nothing is an
// entity and an activity at once, and nothing was used before it was generated.
func wellFormed(t *testing.T, nodes map[string]map[string]any) {
	t.Helper()
	for id, n := range nodes {
		if is(n, provNS+"Entity") == is(n, provNS+"Activity") && !is(n, provNS+"Agent") {
			t.Errorf("%s is neither or both: %v", id, n["@type"])
		}
		for relation, shape := range shapes {
			for _, to := range ids(n, provNS+relation) {
				if !is(n, provNS+shape[0]) {
					t.Errorf("%s has %s and is no %s", id, relation, shape[0])
				}
				if other, ok := nodes[to]; !ok || !is(other, provNS+shape[1]) {
					t.Errorf("%s %s %s, which is no %s", id, relation, to, shape[1])
				}
			}
		}
		ended, _ := one(n, provNS+"endedAtTime")
		for _, e := range ids(n, provNS+"used") {
			if made, _ := one(nodes[e], provNS+"generatedAtTime"); made > ended {
				t.Errorf("%s used %s before it was generated: %s after %s", id, e, made, ended)
			}
		}
	}
}

// The story of a command is in the graph as a reader of PROV would ask for it.
func TestPROV(t *testing.T) {
	g, err := command(t).graph()
	if err != nil {
		t.Fatal(err)
	}
	text, err := g.encode()
	if err != nil {
		t.Fatal(err)
	}
	nodes := expand(t, text)
	wellFormed(t, nodes)
	if t.Failed() {
		t.Logf("%s", text)
	}
	plan := nodes[idOf+"command:01J"]
	if !is(plan, provNS+"Plan") || !slices.Equal(ids(plan, provNS+"wasAttributedTo"), []string{idOf + "principal:agent:dispatcher"}) || !slices.Equal(ids(plan, Vocabulary+"target"), []string{idOf + "twin:line-9-10"}) ||
		!slices.Equal(ids(plan, provNS+"wasGeneratedBy"), []string{idOf + "step:1"}) {
		t.Errorf("%v", plan)
	}
	if name, _ := one(plan, Vocabulary+"name"); name != "open" {
		t.Errorf("name %q", name)
	}
	if who := ids(nodes[idOf+"step:3"], provNS+"wasAssociatedWith"); !slices.Equal(who, []string{idOf + "principal:operator:alice", idOf + "principal:operator:bob"}) {
		t.Errorf("approved by %v", who)
	}
	if who := ids(nodes[idOf+"step:5"], provNS+"wasAssociatedWith"); !slices.Equal(who, []string{idOf + "principal:device:sub-9", idOf + "principal:node:sample"}) {
		t.Errorf("dispatched by %v", who)
	}
	for step, before := range map[string]string{"2": "1", "3": "2", "4": "3", "5": "4", "6": "5", "8": "6"} {
		if got := ids(nodes[idOf+"step:"+step], provNS+"wasInformedBy"); !slices.Equal(got, []string{idOf + "step:" + before}) {
			t.Errorf("step %s was informed by %v", step, got)
		}
	}
	last := nodes[idOf+"receipt:8"]
	if index, kind := one(last, Vocabulary+"index"); index != "8" || kind != "http://www.w3.org/2001/XMLSchema#nonNegativeInteger" {
		t.Errorf("index %q %q", index, kind)
	}
	if at, kind := one(last, provNS+"generatedAtTime"); at != "2026-01-02T03:04:13.000000Z" || kind != "http://www.w3.org/2001/XMLSchema#dateTime" {
		t.Errorf("time %q %q", at, kind)
	}
	if got := ids(last, provNS+"wasDerivedFrom"); !slices.Equal(got, []string{idOf + "receipt:6", idOf + "receipt:77"}) {
		t.Errorf("derived from %v", got)
	}
	if got := ids(nodes[idOf+"time:1"], Vocabulary+"covers"); !slices.Equal(got, []string{idOf + "checkpoint:95"}) {
		t.Errorf("the second proof covers %v", got)
	}
	if _, ok := nodes[idOf+"receipt:7"]; ok {
		t.Error("a receipt that has nothing to do with the command is in its history")
	}
	if got := ids(nodes[idOf+"principal:node:sample"], provNS+"actedOnBehalfOf"); !slices.Equal(got, []string{idOf + "domain:sample"}) {
		t.Errorf("the node acted for %v", got)
	}
	again, err := command(t).graph()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := again.encode(); err != nil || !bytes.Equal(b, text) {
		t.Errorf("the same input gives other bytes: %v", err)
	}
}

// The graph is RDF: a foreign processor turns it into N-Quads.
func TestRDF(t *testing.T) {
	g, err := command(t).graph()
	if err != nil {
		t.Fatal(err)
	}
	text, err := g.encode()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := ld.DocumentFromReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	o := ld.NewJsonLdOptions("")
	o.Format = "application/n-quads"
	o.DocumentLoader = nothing{}
	quads, err := ld.NewJsonLdProcessor().ToRDF(doc, o)
	if err != nil {
		t.Fatal(err)
	}
	want := "<" + idOf + "receipt:1> <" + provNS + "wasGeneratedBy> <" + idOf + "step:1> .\n"
	if s, _ := quads.(string); !strings.Contains(s, want) || strings.Count(s, "\n") < 100 {
		t.Errorf("no %s in %d bytes", want, len(s))
	}
}

// What is not verified, or holds no command, is not exported.
func TestPROVRefuses(t *testing.T) {
	d := newDomain(t)
	d.halts(3)
	bundle, trust := d.bundle()
	if _, err := PROV(bundle, trust); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("a bundle without commands: %v", err)
	}
	bad := bytes.Clone(bundle)
	bad[len(bad)/3] ^= 4
	if _, err := PROV(bad, trust); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("a bundle that is refused: %v", err)
	}
	if _, err := PROV(bundle, nil); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("without trust: %v", err)
	}
}
