package pgdt

import (
	"encoding/json"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/energy/grid"
)

// Everything that the fleet says is in the models, so that a node that knows them takes every message.
func TestMessagesFitTheModels(t *testing.T) {
	set, err := dtdl.Parse(grid.Models(), dtdl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := newTestWorld(t, "ieee118", nil)
	w.mustStep(t)
	for _, d := range grid.Twins(w.c) {
		model, ok := set.Interface(d.Model)
		if !ok {
			t.Fatalf("no model %s", d.Model)
		}
		i := w.byID[d.ID]
		var m struct {
			Telemetry, Properties map[string]json.RawMessage
		}
		if err := json.Unmarshal(encode(time.Now(), 0, w.measure(i, nil), w.report(i, nil), false), &m); err != nil {
			t.Fatal(err)
		}
		for name, raw := range m.Telemetry {
			if tel, ok := model.Telemetry(name); !ok {
				t.Errorf("%s has no telemetry %s", d.Model, name)
			} else if err := tel.Validate(raw); err != nil {
				t.Errorf("%s %s = %s: %v", d.ID, name, raw, err)
			}
		}
		for name, raw := range m.Properties {
			if p, ok := model.Property(name); !ok {
				t.Errorf("%s has no property %s", d.Model, name)
			} else if err := p.Validate(raw); err != nil {
				t.Errorf("%s %s = %s: %v", d.ID, name, raw, err)
			}
		}
	}
}
