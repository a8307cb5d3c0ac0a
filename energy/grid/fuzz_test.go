package grid

import (
	"bytes"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// FuzzParse: whatever parses is written and read back as the same text, and compiles or is refused.
func FuzzParse(f *testing.F) {
	f.Add(Format(shipped(f, "ieee14")))
	f.Add([]byte("vaultmesh-grid 1\nname a\nbase 100\nbus 1 slack 132 0.9 1.1 1 0 0 0 0 0\ngen 1 0 0 1 -Inf +Inf 0 1 off\n"))
	f.Add([]byte("vaultmesh-grid 1\nname a\nbase 1e400\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			if vaultmesh.KindOf(err) == vaultmesh.Internal {
				t.Fatalf("an untyped error: %v", err)
			}
			return
		}
		text := Format(c)
		again, err := Parse(text)
		if err != nil || !bytes.Equal(Format(again), text) {
			t.Fatalf("%v: not the same after writing and reading", err)
		}
		if n, err := powerflow.Compile(c); err == nil {
			if sol, err := n.Solve(powerflow.Options{}); err == nil && !(sol.MaxMismatch <= powerflow.DefaultTolerance) {
				t.Fatalf("a solution with a mismatch of %g", sol.MaxMismatch)
			}
		}
	})
}

const smallMatpower = `function mpc = small
%% a comment
mpc.version = '2';
mpc.baseMVA = 100;
mpc.bus = [
	1	3	0	0	0	0	1	1	0	132	1	1.1	0.9;
	2	1	50	10	0	5	1	1	0	132	1	1.1	0.9; % a load
];
mpc.gen = [ 1 0 0 Inf -Inf 1.02 100 1 200 0; ];
mpc.branch = [
	1, 2, 0.01, 0.1, 0.02, 0, 0, 0, 0.98, -30, 1;
];
mpc.bus_name = {
	'one; two';
};
`

func TestReadMatpower(t *testing.T) {
	c, err := ReadMatpower([]byte(smallMatpower))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "small" || c.BaseMVA != 100 || len(c.Buses) != 2 || len(c.Gens) != 1 || len(c.Branches) != 1 {
		t.Fatalf("%+v", c)
	}
	want := powerflow.Branch{From: 1, To: 2, R: 0.01, X: 0.1, B: 0.02, Tap: 0.98, ShiftDeg: -30, InService: true}
	if c.Branches[0] != want || c.Buses[1].LoadMVAr != 10 || c.Buses[1].ShuntMVAr != 5 || c.Gens[0].V != 1.02 {
		t.Errorf("%+v", c)
	}
}

func TestReadMatpowerErrorsNameTheLine(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"0.98", "Inf", "line 11: column 9 of branch"},
		{"1.02", "v", "line 9: column 6 of gen"},
		{"2	1	50", "2.5	1	50", "line 7: column 1 of bus"},
		{"2	1	50", "2	9	50", "line 7: bus type 9"},
		{"100 1 200 0;", "100 1;", "line 9: gen has 8 columns"},
		{"= 100;", "= -100;", "line 4: baseMVA"},
		{"mpc.baseMVA = 100;", "", "there is no mpc.baseMVA"},
		{"};", "", "the table bus_name has no end"},
	} {
		text := strings.Replace(smallMatpower, c.from, c.to, 1)
		if _, err := ReadMatpower([]byte(text)); err == nil || vaultmesh.KindOf(err) != vaultmesh.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: %v, want …%s…", c.to, c.from, err, c.want)
		}
	}
}

func FuzzReadMatpower(f *testing.F) {
	f.Add([]byte(smallMatpower))
	f.Add([]byte("mpc.baseMVA = 1;\nmpc.bus = ["))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ReadMatpower(data)
		if err != nil {
			if vaultmesh.KindOf(err) == vaultmesh.Internal {
				t.Fatalf("an untyped error: %v", err)
			}
			return
		}
		if n, err := powerflow.Compile(c); err == nil {
			if sol, err := n.Solve(powerflow.Options{}); err == nil && !(sol.MaxMismatch <= powerflow.DefaultTolerance) {
				t.Fatalf("a solution with a mismatch of %g", sol.MaxMismatch)
			}
		}
	})
}
