package view

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// The view names the part that is at fault, for every kind of part that a check can be about.
func TestBlame(t *testing.T) {
	w := sample.New(t)
	parts := w.Everything()
	trust, err := json.Marshal(w.Trust())
	if err != nil {
		t.Fatal(err)
	}
	judge := func(bundle []byte) View { return Judge(bundle, trust, []byte(`{"size":"0"}`)) }
	honest := judge(w.Pack(parts))
	if honest.Error != "" || !honest.Report.OK || len(honest.Parts) != len(parts) || slices.ContainsFunc(honest.Parts, func(p Part) bool { return p.Failed != nil }) {
		t.Fatalf("%.500s", honest.JSON())
	}
	for i, p := range parts {
		if slices.Contains([]string{receipt.PartScope, receipt.PartChallenge, receipt.PartConsistency, receipt.PartTimestamp}, p.Type) {
			continue // what is wrong then is found where they are used; a time-stamp has bytes of no meaning
		}
		bad := slices.Clone(parts)
		bad[i].Data = bytes.Clone(p.Data)
		bad[i].Data[len(p.Data)/3] ^= 1
		v := judge(w.Pack(bad))
		if v.Report.OK || !slices.ContainsFunc(v.Parts, func(x Part) bool { return x.Name == p.Name && x.Failed != nil }) {
			t.Errorf("%s is not blamed: %+v", p.Name, v.Report.Failed())
		}
	}
	// One byte of the file: the part whose digest does not fit is named although nothing else can be judged.
	bundle := w.Pack(parts)
	i := bytes.Index(bundle, []byte(`"name":"state/1.json"`)) - 30
	if bundle[i] != 'A' {
		bundle[i] = 'A'
	} else {
		bundle[i] = 'B'
	}
	if v := judge(bundle); v.Report.OK || !slices.ContainsFunc(v.Parts, func(x Part) bool { return x.Name == "state/1.json" && x.Failed != nil }) {
		t.Errorf("%+v", v.Parts)
	}
}

func TestOptions(t *testing.T) {
	w := sample.New(t)
	bundle := w.Pack(w.Everything())
	x := w.Trust()
	x.WitnessPolicy = ""
	trust, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	for options, want := range map[string]bool{
		`{"size":"0","complete":true}`: false,
		`{"size":"22","root":"` + w.RootOf(22).String() + `","complete":true,"now":"2026-02-01T00:00:00Z"}`:     true,
		`{"size":"22","root":"` + w.RootOf(21).String() + `"}`:                                                  false,
		`{"size":"0","now":"` + sample.Start.Add(-time.Hour).Format(time.RFC3339) + `"}`:                        false,
		string(mustJSON(t, map[string]any{"size": "0", "head": string(w.Checkpoint(22, 0)), "complete": true})): true,
	} {
		if v := Judge(bundle, trust, []byte(options)); v.Error != "" || v.Report.OK != want {
			t.Errorf("%s: %s %+v", options, v.Error, v.Report)
		}
	}
	for _, c := range [][3]string{{"", string(trust), `{"size":"0"}`}, {string(bundle), "{}", `{"size":"0"}`}, {string(bundle), string(trust), `{`}, {string(bundle), string(trust), `{"size":"1","root":"x"}`}} {
		if v := Judge([]byte(c[0]), []byte(c[1]), []byte(c[2])); v.Error == "" || v.Report != nil {
			t.Errorf("%.40q: %+v", c, v)
		}
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A page has no flags: what the report says of them is said of the page.
func TestNoFlagsOnThePage(t *testing.T) {
	w := sample.New(t)
	pins := w.Trust()
	pins.WitnessPolicy = "" // nobody but the auditor knows a head
	bundle, trust := w.Pack(w.Everything()), mustJSON(t, pins)
	for _, options := range []string{`{"size":"0"}`, `{"size":"0","complete":true}`} {
		v := Judge(bundle, trust, []byte(options))
		if text := string(v.JSON()); strings.Contains(text, "--head FILE") || strings.Contains(text, "(--head)") || strings.Contains(text, "--expect-") || !strings.Contains(text, "Ask for more") {
			t.Errorf("%s: %s", options, text)
		}
	}
}

// FuzzJudge gives the page's function anything.
func FuzzJudge(f *testing.F) {
	w := sample.New(f)
	w.Genesis()
	parts, pins := w.All()
	trust := mustJSON(f, pins)
	f.Add(w.Pack(nil), trust, []byte(`{"size":"0"}`))
	f.Add(w.Pack(parts), trust, []byte(`{"size":"0"}`))
	f.Add([]byte(`{"parts":[{"name":"a","data":"","sha256":""}]}`), trust, []byte(`{"size":"3","root":"`+vaultmesh.Sum(nil).String()+`"}`))
	f.Fuzz(func(t *testing.T, bundle, trust, options []byte) {
		v := Judge(bundle, trust, options)
		if !json.Valid(v.JSON()) || v.Report != nil && v.Report.OK && !bytes.Contains(bundle, []byte(receipt.BundleFormat)) {
			t.Errorf("%s", v.JSON())
		}
	})
}
