package energy

import (
	"cmp"
	"fmt"
	"slices"

	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/whatif"
)

// Limits that the comparison of two states finds beside those of powerflow.
const (
	limitIslanded    = "islanded"
	limitAngle       = "angle"
	limitSynchronism = "synchronism"
	limitUnsolved    = "unsolved"
)

var limitUnits = map[powerflow.Limit]string{
	powerflow.VoltageMin: "pu", powerflow.VoltageMax: "pu", powerflow.Loading: "MVA",
	powerflow.ReactiveMin: "MVAr", powerflow.ReactiveMax: "MVAr", powerflow.ActiveMin: "MW", powerflow.ActiveMax: "MW",
}

// comparison tells what a command changes for the worse.
type comparison struct {
	f      *frame
	worsen Worsen
}

// worse returns the violations of after that before has not, or has less badly. Both are in the order of
// powerflow.Solver.Violations. outage names the branch whose loss both are about, "" for none.
func (c *comparison) worse(before, after []powerflow.Violation, outage string) []whatif.Violation {
	var out []whatif.Violation
	k := 0
	for i := range after {
		a := &after[i]
		for k < len(before) && precedes(&before[k], a) {
			k++
		}
		existed := k < len(before) && before[k].Limit == a.Limit && before[k].Index == a.Index
		if existed && !c.worsened(&before[k], a) {
			continue
		}
		v := c.violation(a, outage)
		v.Worse = existed
		out = append(out, v)
	}
	return out
}

// precedes orders violations like powerflow does: voltages, loadings, generators, by index; of one element at most
// one limit of a quantity is violated, so the limit decides last.
func precedes(a, b *powerflow.Violation) bool {
	return cmp.Or(cmp.Compare(group(a.Limit), group(b.Limit)), cmp.Compare(a.Index, b.Index), cmp.Compare(quantity(a.Limit), quantity(b.Limit)), cmp.Compare(a.Limit, b.Limit)) < 0
}

func group(l powerflow.Limit) int {
	switch l {
	case powerflow.VoltageMin, powerflow.VoltageMax:
		return 0
	case powerflow.Loading:
		return 1
	}
	return 2
}

// quantity orders the limits of one generator: active before reactive.
func quantity(l powerflow.Limit) int {
	if l == powerflow.ReactiveMin || l == powerflow.ReactiveMax {
		return 1
	}
	return 0
}

func (c *comparison) worsened(before, after *powerflow.Violation) bool {
	excess := func(v *powerflow.Violation) float64 { return max(v.Value-v.Bound, v.Bound-v.Value) }
	grown := excess(after) - excess(before)
	switch after.Limit {
	case powerflow.VoltageMin, powerflow.VoltageMax:
		return grown > c.worsen.Voltage
	case powerflow.Loading:
		return grown > c.worsen.Loading*after.Bound
	}
	return grown > c.worsen.Active
}

func (c *comparison) violation(v *powerflow.Violation, outage string) whatif.Violation {
	out := whatif.Violation{Limit: v.Limit.String(), Value: v.Value, Bound: v.Bound, Unit: limitUnits[v.Limit], Outage: outage}
	switch group(v.Limit) {
	case 0:
		out.Element = string(c.f.bus[v.Index])
	case 1:
		out.Element = string(c.f.branch[v.Index])
	default:
		out.Element = string(c.f.gen[v.Index])
		// Reactive limits are not enforced by the solver: the voltage there would give way instead.
		out.Warning = quantity(v.Limit) == 1
	}
	return out
}

func (c *comparison) list(vs []powerflow.Violation) []whatif.Violation {
	out := make([]whatif.Violation, len(vs))
	for i := range vs {
		out[i] = c.violation(&vs[i], "")
	}
	return out
}

// separated finds what the command cuts off: buses with load that were energised and are dead, and energised parts
// that left the island they belonged to. Each part is named by one bus; its value is the load that is cut off, or, in
// a part without load, the generation.
func (c *comparison) separated(b *bench) []whatif.Violation {
	var out []whatif.Violation
	before, after := &b.before, &b.after
	for i := range after.Dead {
		if load := b.busP[i]; after.Dead[i] && !before.Dead[i] && load > 0 {
			out = append(out, whatif.Violation{Element: string(c.f.bus[i]), Limit: limitIslanded, Value: load, Unit: "MW"})
		}
	}
	if len(after.Islands) <= 1 {
		return out
	}
	// The rest of an old island is where its balancing bus is, or, if that is dead, its largest part.
	heir := make([]int32, len(before.Islands))
	for k := range before.Islands {
		heir[k] = after.IslandOf[before.Islands[k].Slack]
	}
	for i, k := range before.IslandOf {
		if n := after.IslandOf[i]; k >= 0 && n >= 0 && heir[k] < 0 {
			heir[k] = c.largest(before, after, k)
		}
	}
	seen := make([]bool, len(after.Islands))
	for i, k := range before.IslandOf {
		n := after.IslandOf[i]
		if k < 0 || n < 0 || n == heir[k] || seen[n] {
			continue
		}
		seen[n] = true
		is := &after.Islands[n]
		value := is.LoadMW
		if value <= 0 {
			value = c.scheduled(b, n)
		}
		out = append(out, whatif.Violation{Element: string(c.f.bus[is.Slack]), Limit: limitIslanded, Value: value, Unit: "MW"})
	}
	return out
}

func (c *comparison) largest(before, after *powerflow.Solution, island int32) int32 {
	best := int32(-1)
	for i, k := range before.IslandOf {
		if n := after.IslandOf[i]; k == island && n >= 0 && (best < 0 || after.Islands[n].Buses > after.Islands[best].Buses) {
			best = n
		}
	}
	return best
}

// scheduled returns what the units of an island were producing before, in MW.
func (c *comparison) scheduled(b *bench, island int32) float64 {
	sum := 0.0
	for g, bus := range c.f.genBus {
		if b.after.IslandOf[bus] == island {
			sum += b.before.GenP[g]
		}
	}
	return sum
}

// severity orders violations of different kinds: what is cut off or has no solution first, then by how far beyond the
// bound, where a tenth of the voltage counts like a full overload.
func severity(v *whatif.Violation) float64 {
	excess := max(v.Value-v.Bound, v.Bound-v.Value)
	switch v.Limit {
	case limitUnsolved:
		return 2e6
	case limitIslanded:
		return 1e6 + v.Value
	case powerflow.VoltageMin.String(), powerflow.VoltageMax.String():
		return 10 * excess
	}
	return excess / max(1, v.Bound, -v.Bound)
}

// worstFirst sorts vs (warnings last, what is so before what an outage would do) and keeps at most limit.
func worstFirst(vs []whatif.Violation, limit int) []whatif.Violation {
	rank := func(v *whatif.Violation) int {
		r := 0
		if v.Outage != "" {
			r = 1
		}
		if v.Warning {
			r += 2
		}
		return r
	}
	slices.SortFunc(vs, func(a, b whatif.Violation) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(severity(&b), severity(&a)),
			cmp.Compare(a.Element, b.Element), cmp.Compare(a.Limit, b.Limit), cmp.Compare(a.Outage, b.Outage))
	})
	if len(vs) == 0 {
		return nil
	}
	return vs[:min(len(vs), limit):min(len(vs), limit)]
}

// describe puts one violation into words.
func describe(v whatif.Violation) string {
	after := ""
	if v.Outage != "" {
		after = " after the loss of " + v.Outage
	}
	switch v.Limit {
	case limitUnsolved:
		return "no solution" + after
	case limitIslanded:
		return fmt.Sprintf("%s cut off with %.4g %s%s", v.Element, v.Value, v.Unit, after)
	}
	return fmt.Sprintf("%s %s %.4g %s, limit %.4g%s", v.Element, v.Limit, v.Value, v.Unit, v.Bound, after)
}
