package grid

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

func modelSet(t *testing.T) *dtdl.Set {
	t.Helper()
	set, err := dtdl.Parse(Models(), dtdl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func shipped(t testing.TB, name string) *powerflow.Case {
	t.Helper()
	c, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestModelsAreTheOnesNamed(t *testing.T) {
	set := modelSet(t)
	all := []string{ModelBus, ModelBranch, ModelLine, ModelTransformer, ModelGenerator, ModelLoad, ModelShunt, ModelCapacitors, ModelGrid}
	for _, name := range []string{"Equipment", "SwitchingDevice", "Breaker", "Disconnector", "TapChanger", "PowerTransformer", "Battery", "Meter"} {
		all = append(all, "dtmi:org:vaultmesh:grid:"+name+";1")
	}
	if set.Len() != len(all) {
		t.Errorf("%d interfaces, want %d", set.Len(), len(all))
	}
	for _, m := range all {
		if _, ok := set.Interface(m); !ok {
			t.Errorf("no interface %s", m)
		}
	}
	if !set.IsA(ModelCapacitors, ModelShunt) {
		t.Error("a capacitor bank is a shunt")
	}
	if !set.IsA(ModelLine, ModelBranch) || !set.IsA(ModelTransformer, ModelBranch) || set.IsA(ModelLine, ModelTransformer) {
		t.Error("lines and transformers are branches, and no line is a transformer")
	}
}

// contract lists, by model, what the constants of this package promise: nameplate, reported, telemetry, relationships.
var contract = map[string][4][]string{
	ModelBus:         {{Number, BaseKV, VMin, VMax}, {}, {Voltage, Angle}, {}},
	ModelLine:        {{Number, R, X, B, Rating}, {Closed}, {ActivePowerFrom, ReactivePowerFrom, ActivePowerTo, ReactivePowerTo, LoadingFraction}, {FromBus, ToBus}},
	ModelTransformer: {{Number, R, X, B, Rating, TapMin, TapMax, TapStep, Shift}, {Closed, Tap}, {ActivePowerFrom, ReactivePowerFrom, ActivePowerTo, ReactivePowerTo, LoadingFraction}, {FromBus, ToBus}},
	ModelGenerator:   {{Number, PMin, PMax, QMin, QMax, SlackUnit}, {Connected, ActivePowerSetpoint, VoltageSetpoint}, {ActivePower, ReactivePower}, {AtBus}},
	ModelLoad:        {{Number, NominalP, NominalQ}, {Connected, Shed}, {ActivePower, ReactivePower}, {AtBus}},
	ModelShunt:       {{Number, Conductance, Susceptance}, {Connected}, {ReactivePower}, {AtBus}},
	ModelCapacitors:  {{Number, Conductance, Susceptance, NominalKV}, {Connected}, {ReactivePower}, {AtBus}},
	ModelGrid:        {{CaseName, BaseMVA}, {DeadBuses}, {Frequency, TotalLoad, TotalGeneration, Losses}, {}},
}

func TestContentsAreTheOnesNamed(t *testing.T) {
	set := modelSet(t)
	for model, names := range contract {
		m, _ := set.Interface(model)
		for _, n := range append(slices.Clone(names[0]), names[1]...) {
			if _, ok := m.Property(n); !ok {
				t.Errorf("%s has no property %s", model, n)
			}
		}
		for _, n := range names[2] {
			if _, ok := m.Telemetry(n); !ok {
				t.Errorf("%s has no telemetry %s", model, n)
			}
		}
		for _, n := range names[3] {
			r, ok := m.Relationship(n)
			if !ok || r.Target() != ModelBus {
				t.Errorf("%s has no relationship %s to a bus", model, n)
			}
		}
		contents := 0
		for range m.Contents() {
			contents++
		}
		want := len(names[0]) + len(names[1]) + len(names[2]) + len(names[3]) + len(commandsOf(model))
		if contents != want && model != ModelCapacitors { // which has what no case tells of
			t.Errorf("%s has %d contents, %d are named", model, contents, want)
		}
	}
}

// request is a command with an example that must be valid, and one that must not.
type request struct{ model, name, good, bad string }

var requests = []request{
	{ModelLine, OpenBreaker, "", ""},
	{ModelLine, CloseBreaker, "", ""},
	{ModelTransformer, OpenBreaker, "", ""},
	{ModelTransformer, CloseBreaker, "", ""},
	{ModelTransformer, SetTap, `{"` + ArgRatio + `":0.98}`, `{"` + ArgRatio + `":"high"}`},
	{ModelGenerator, SetActivePower, `{"` + ArgMegawatts + `":40}`, `{"` + ArgMegawatts + `":null}`},
	{ModelGenerator, SetVoltage, `{"` + ArgPerUnit + `":1.02}`, `{"` + ArgPerUnit + `":true}`},
	{ModelGenerator, Connect, "", ""},
	{ModelGenerator, Disconnect, "", ""},
	{ModelLoad, ShedLoad, `{"` + ArgFraction + `":0.25}`, `{"part":0.25}`},
	{ModelLoad, RestoreLoad, "", ""},
	{ModelShunt, Connect, "", ""},
	{ModelShunt, Disconnect, "", ""},
	{ModelCapacitors, Connect, "", ""},
	{ModelCapacitors, Disconnect, "", ""},
	{ModelGrid, InjectFault, `{"` + ArgElement + `":"line-1-2","` + ArgKind + `":"` + FaultBranchTrip + `"}`, `{"` + ArgKind + `":"storm"}`},
	{ModelGrid, InjectFault, `{"` + ArgElement + `":"gen-2","` + ArgKind + `":"` + FaultGeneratorTrip + `"}`, `[]`},
	{ModelGrid, InjectFault, `{"` + ArgElement + `":"bus-2","` + ArgKind + `":"` + FaultSensorStuck + `"}`, `1`},
	{ModelGrid, InjectFault, `{"` + ArgElement + `":"bus-2","` + ArgKind + `":"` + FaultClear + `"}`, `"clear"`},
}

func commandsOf(model string) map[string]bool {
	names := map[string]bool{}
	for _, r := range requests {
		if r.model == model {
			names[r.name] = true
		}
	}
	return names
}

func TestCommandsValidate(t *testing.T) {
	set := modelSet(t)
	for _, r := range requests {
		m, _ := set.Interface(r.model)
		c, ok := m.Command(r.name)
		switch {
		case !ok:
			t.Errorf("%s has no command %s", r.model, r.name)
		case r.good == "":
			if c.Request() != nil {
				t.Errorf("%s %s has a request, want none", r.model, r.name)
			}
		case c.Request() == nil:
			t.Errorf("%s %s has no request", r.model, r.name)
		default:
			if err := c.Request().Validate(json.RawMessage(r.good)); err != nil {
				t.Errorf("%s %s %s: %v", r.model, r.name, r.good, err)
			}
			if c.Request().Validate(json.RawMessage(r.bad)) == nil {
				t.Errorf("%s %s accepts %s", r.model, r.name, r.bad)
			}
		}
	}
}

func TestTwinsFollowTheModels(t *testing.T) {
	set := modelSet(t)
	for _, name := range Cases() {
		c := shipped(t, name)
		defs, x := Twins(c), NewIndex(c)
		models := map[vaultmesh.TwinID]string{}
		for _, d := range defs {
			if models[d.ID] != "" {
				t.Errorf("%s: twin %s occurs twice", name, d.ID)
			}
			models[d.ID] = d.Model
			if _, ok := x.Lookup(d.ID); !ok {
				t.Errorf("%s: the index does not know %s", name, d.ID)
			}
		}
		for _, d := range defs {
			if err := errors.Join(vaultmesh.CheckID("twin", string(d.ID)), vaultmesh.CheckID("device", string(d.Device))); err != nil {
				t.Error(err)
			}
			m, _ := set.Interface(d.Model)
			if len(d.Nameplate) != len(contract[d.Model][0]) {
				t.Errorf("%s %s: nameplate %v, want %v", name, d.ID, d.Nameplate, contract[d.Model][0])
			}
			for key, v := range d.Nameplate {
				p, ok := m.Property(key)
				if !ok {
					t.Errorf("%s: %s has no property %s", d.ID, d.Model, key)
					continue
				}
				if err := p.Validate(v); err != nil {
					t.Errorf("%s %s = %s: %v", d.ID, key, v, err)
				}
			}
			for _, r := range d.Relationships {
				if rel, ok := m.Relationship(r.Name); !ok || !set.IsA(models[r.Target], rel.Target()) {
					t.Errorf("%s %s → %s: not a relationship of the model to a twin that there is", d.ID, r.Name, r.Target)
				}
			}
		}
	}
}

func TestIdentifiersAndDevices(t *testing.T) {
	c := &powerflow.Case{
		Name: "small", BaseMVA: 100,
		Buses: []powerflow.Bus{{Number: 1, Type: powerflow.Slack, LoadMW: 1}, {Number: 7, Type: powerflow.PQ, ShuntMVAr: -5}},
		Branches: []powerflow.Branch{
			{From: 1, To: 7, X: 1, InService: true}, {From: 1, To: 7, X: 1, InService: true}, {From: 7, To: 1, X: 1, InService: true},
			{From: 1, To: 7, X: 1, Tap: 0.8, InService: true}, {From: 1, To: 7, X: 1, ShiftDeg: 30, InService: true},
		},
		Gens: []powerflow.Gen{{Bus: 1, V: 1, InService: true}, {Bus: 1, V: 1}},
	}
	x := NewIndex(c)
	check := func(what string, got, want []vaultmesh.TwinID) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("buses", x.Bus, []vaultmesh.TwinID{"bus-1", "bus-7"})
	check("branches", x.Branch, []vaultmesh.TwinID{"line-1-7", "line-1-7-2", "line-7-1", "transformer-1-7", "transformer-1-7-2"})
	check("generators", x.Gen, []vaultmesh.TwinID{"gen-1", "gen-1-2"})
	check("loads", x.Load, []vaultmesh.TwinID{"load-1", ""})
	check("shunts", x.Shunt, []vaultmesh.TwinID{"", "shunt-7"})
	if x.BranchDevice[2] != "sub-7" || x.GenDevice[1] != "sub-1" || x.BusDevice[1] != "sub-7" {
		t.Errorf("devices %v %v %v", x.BranchDevice, x.GenDevice, x.BusDevice)
	}
	if e, ok := x.Lookup("shunt-7"); !ok || e != (Element{Kind: KindShunt, Index: 1}) {
		t.Errorf("shunt-7 is %v %v", e, ok)
	}
	if e, ok := x.Lookup(TwinGrid); !ok || e.Kind != KindGrid {
		t.Errorf("grid is %v %v", e, ok)
	}
	if _, ok := x.Lookup("bus-2"); ok {
		t.Error("there is no bus 2")
	}
	defs := Twins(c)
	var order []string
	for _, d := range defs {
		order = append(order, string(d.ID))
	}
	if got := strings.Join(order, " "); got != "grid bus-1 bus-7 line-1-7 line-1-7-2 line-7-1 transformer-1-7 transformer-1-7-2 gen-1 gen-1-2 load-1 shunt-7" {
		t.Errorf("order %s", got)
	}
	if got := string(defs[6].Nameplate[TapMin]); got != "0.8" {
		t.Errorf("the tap changer of a transformer at 0.8 begins at %s", got)
	}
	if got := string(defs[7].Nameplate[TapMin]); got != "0.9" {
		t.Errorf("the tap changer of a transformer at its nominal ratio begins at %s", got)
	}
}

// TestShippedCases: the base state is within all limits, and single outages are worth looking at.
func TestShippedCases(t *testing.T) {
	sizes := map[string][3]int{"ieee14": {14, 20, 5}, "ieee30": {30, 41, 6}, "ieee118": {118, 186, 54}}
	for _, name := range Cases() {
		c := shipped(t, name)
		if got := [3]int{len(c.Buses), len(c.Branches), len(c.Gens)}; got != sizes[name] || c.Name != name {
			t.Errorf("%s: %v, want %v", c.Name, got, sizes[name])
		}
		n, err := powerflow.Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		s := n.NewSolver()
		var sol powerflow.Solution
		if err := s.Solve(powerflow.Options{}, &sol); err != nil {
			t.Fatal(err)
		}
		if v := s.Violations(&sol, nil); len(v) > 0 {
			t.Errorf("%s: the base state violates %v", name, v)
		}
		outages, err := s.ContingencyAnalysis(t.Context(), &sol, powerflow.ContingencyOptions{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, o := range outages {
			kind := o.Outcome.String()
			if o.Violations > 0 {
				kind = "violating"
			}
			count[kind]++
		}
		t.Logf("%s: %d iterations, %.1f MW load, single outages %v", name, sol.Iterations, sol.LoadMW, count)
		if count["violating"] == 0 || count["secure"] == 0 || count["refused"] > 0 {
			t.Errorf("%s: single outages %v", name, count)
		}
	}
}

func TestLoadNamesTheCases(t *testing.T) {
	_, err := Load("ieee57")
	if vaultmesh.KindOf(err) != vaultmesh.NotFound || !strings.Contains(err.Error(), "ieee118") {
		t.Errorf("%v", err)
	}
}

func TestFormatRoundTrip(t *testing.T) {
	for _, name := range Cases() {
		c := shipped(t, name)
		back, err := Parse(Format(c))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c, back) {
			t.Errorf("%s is not the same after writing and reading", name)
		}
	}
}

func TestParseErrorsNameTheLine(t *testing.T) {
	const head = "vaultmesh-grid 1\nname a\nbase 100\n"
	const bus = "bus 1 slack 132 0.9 1.1 1 0 0 0 0 0\n"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "line 0: the file ends"},
		{"other format", "vaultmesh-grid 2\n", "line 1: want"},
		{"comment before the head", "# hello\n\nvaultmesh 1", "line 3: want"},
		{"no name", "vaultmesh-grid 1\nbase 100\n", "line 2: \"base\", want name"},
		{"name of two words", "vaultmesh-grid 1\nname a b\n", "line 2: want a word"},
		{"bad name", "vaultmesh-grid 1\nname /\n", "line 2: the name"},
		{"base twice", head + "base 100\n", "line 4: unknown record"},
		{"no base", "vaultmesh-grid 1\nname a\nbase -1\n", "line 3: base is -1"},
		{"no bus", head, "line 3: the file ends"},
		{"short bus", head + "bus 1 slack 132\n", "line 4: vMin is missing"},
		{"long bus", head + strings.TrimSpace(bus) + " 1\n", "line 4: 1 figures more"},
		{"bus twice", head + bus + bus, "line 5: bus 1 occurs twice"},
		{"bus zero", head + "bus 0 slack 132 0.9 1.1 1 0 0 0 0 0\n", "line 4: the bus number"},
		{"bus type", head + "bus 1 swing 132 0.9 1.1 1 0 0 0 0 0\n", "line 4: the bus type"},
		{"not a number", head + "bus 1 pq 132 x 1.1 1 0 0 0 0 0\n", "line 4: vMin is \"x\""},
		{"NaN", head + "bus 1 pq 132 NaN 1.1 1 0 0 0 0 0\n", "line 4: vMin is \"NaN\""},
		{"infinite load", head + "bus 1 pq 132 0.9 1.1 1 0 Inf 0 0 0\n", "line 4: load MW is infinite"},
		{"unknown bus", head + bus + "gen 2 1 1 1 0 1 0 1 on\n", "line 5: the generator's bus is bus 2"},
		{"service", head + bus + "gen 1 1 1 1 0 1 0 1 yes\n", "line 5: \"yes\", want on or off"},
		{"ratio", head + bus + "bus 2 pq 132 0.9 1.1 1 0 0 0 0 0\ntransformer 1 2 0 1 0 0 0 0 on\n", "line 6: ratio 0"},
		{"unknown", head + bus + "cable 1 2\n", "line 5: unknown record"},
		{"long line", head + "# " + strings.Repeat("x", 2000) + "\n", "line 4: 2003 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			if err == nil || vaultmesh.KindOf(err) != vaultmesh.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want …%s…", err, c.want)
			}
		})
	}
}
