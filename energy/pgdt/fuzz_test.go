package pgdt

import (
	"encoding/json"
	"math"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
	"vaultmesh.org/vaultmesh/energy/grid"
)

// No command breaks a device: it answers, and its state stays within what the equipment can do.
func FuzzCommand(f *testing.F) {
	w := newTestWorld(f, "ieee14", nil)
	for _, args := range []string{"", "null", "{}", "[]", `{"megawatts":60}`, `{"ratio":0.95}`, `{"perUnit":1.02}`, `{"fraction":0.5}`, `{"element":"line-1-2","kind":"branchTrip"}`, `{"element":"","kind":"clear"}`, `{"ratio":1e999}`} {
		for _, name := range []string{grid.OpenBreaker, grid.SetTap, grid.SetActivePower, grid.SetVoltage, grid.ShedLoad, grid.InjectFault} {
			f.Add(uint16(3), name, []byte(args))
		}
	}
	f.Fuzz(func(t *testing.T, point uint16, name string, args []byte) {
		p := w.points[int(point)%len(w.points)]
		o := w.apply(p.device, client.Command{ID: "1", Twin: p.id, Name: name, Args: json.RawMessage(args)})
		if o.code == "" || o.ok != (o.code == codeDone) || len(o.detail) > 512 {
			t.Fatalf("%+v", o)
		}
		for _, i := range o.moved {
			for _, r := range w.report(i, nil) {
				if math.IsNaN(r.v) || math.Abs(r.v) > 1e6 {
					t.Fatalf("%s %s = %g", w.points[i].id, r.name, r.v)
				}
			}
		}
		o.undo()
		if again := w.apply("sub-none", client.Command{Twin: vaultmesh.TwinID(p.id), Name: name}); again.ok {
			t.Fatal("a stranger was obeyed")
		}
	})
}
