package receipt

import (
	"bytes"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

func testInputs() Inputs {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return Inputs{Command: "c-1", Twin: "line-1", Name: "open", ArgsDigest: vaultmesh.Sum([]byte("{}")), Principal: "agent:a", Time: at, Expires: at.Add(time.Minute),
		TwinState: vaultmesh.Sum([]byte("x")), TwinVersion: 1 << 60, Policy: vaultmesh.Sum([]byte("p")), Stages: vaultmesh.Sum([]byte("s")), Outcome: "allow",
		Limits: []InputLimit{{Rule: "r", Key: "k", Max: 5, Used: 1, Window: 60}}, Expect: map[string]float64{"closed": 0}}
}

func TestInputsHaveOneForm(t *testing.T) {
	in := testInputs()
	doc, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenInputs(doc)
	if err != nil || got.TwinVersion != 1<<60 || got.Limits[0].Used != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"empty":          nil,
		"space":          append([]byte(" "), doc...),
		"unknown member": bytes.Replace(doc, []byte(`"halted"`), []byte(`"halten"`), 1),
		"format":         bytes.Replace(doc, []byte(InputsFormat), []byte("vaultmesh-inputs/v9"), 1),
		"capital":        bytes.Replace(doc, []byte(`"halted"`), []byte(`"Halted"`), 1),
	} {
		if _, err := OpenInputs(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestInputsBelongToTheirDecision(t *testing.T) {
	in := testInputs()
	body, err := Body(AssessedBody{CommandRef: CommandRef{Command: in.Command, Twin: in.Twin, Name: in.Name, ArgsDigest: in.ArgsDigest}, Inputs: vaultmesh.Sum([]byte("i"))})
	if err != nil {
		t.Fatal(err)
	}
	r := Receipt{Draft: Draft{Kind: CommandAssessed, Subject: "command/c-1", Time: in.Time, Policy: in.Policy, Outcome: "assessed: allow", Body: body}}
	if err := in.matches(&r); err != nil {
		t.Error(err)
	}
	if InputsOf(&r) != vaultmesh.Sum([]byte("i")) {
		t.Error("the digest is not found")
	}
	for name, change := range map[string]func(*Inputs){
		"command":   func(x *Inputs) { x.Command = "c-2" },
		"twin":      func(x *Inputs) { x.Twin = "line-2" },
		"name":      func(x *Inputs) { x.Name = "close" },
		"arguments": func(x *Inputs) { x.ArgsDigest[0]++ },
		"policy":    func(x *Inputs) { x.Policy[0]++ },
		"time":      func(x *Inputs) { x.Time = x.Time.Add(time.Microsecond) },
		"outcome":   func(x *Inputs) { x.Outcome = "deny" },
		"unknown":   func(x *Inputs) { x.Outcome = "Allow" },
		"halt":      func(x *Inputs) { x.Halted = true },
	} {
		other := testInputs()
		change(&other)
		if err := other.matches(&r); err == nil {
			t.Errorf("another %s: accepted", name)
		}
	}
	r.Kind = CommandProposed
	if !InputsOf(&r).IsZero() {
		t.Error("a proposal has inputs")
	}
}

func FuzzOpenInputs(f *testing.F) {
	in := testInputs()
	doc, err := in.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Fuzz(func(t *testing.T, doc []byte) {
		in, err := OpenInputs(doc)
		if err != nil {
			return
		}
		if again, err := in.Encode(); err != nil || !bytes.Equal(again, doc) {
			t.Fatal("two texts of the same inputs")
		}
	})
}
