// Package powerflow owns the steady-state physics of a power grid: AC power flow by Newton-Raphson, the
// flows and losses that follow from it, and the screening of single outages (N-1). It is on floor 4.
//
// It is pure numerics: no I/O, no clock, no goroutine. It must not know twins, devices, commands or files; package
// grid maps those to a [Case].
//
// A [Case] is plain data. [Compile] checks it and analyses its structure once (ordering, fill, all index lists); the
// resulting [Network] is immutable and safe for concurrent use. A [Solver] holds the changeable inputs (loads, set
// points, taps, switch positions) and all working memory on that structure: it is for one goroutine at a time, and a
// repeated solve allocates nothing.
//
// A result is either a solution whose power balance holds at every energised bus within the tolerance, recomputed
// from the voltages themselves, or a [Refusal]. There is no third kind of answer.
//
// Generator reactive limits are reported as violations, not enforced: a generator at its limit keeps its voltage.
package powerflow

// Limits of what Compile accepts; a larger case is refused as TooLarge.
const (
	MaxBuses    = 100_000
	MaxBranches = 400_000
	MaxGens     = 100_000
	// MaxFactorBlocks bounds the 2×2 blocks above the diagonal of the factors, 64 bytes each with their mirror image.
	// The European grid of 9,241 buses needs about 30,000.
	MaxFactorBlocks = 4_000_000
)

// BusType says what is held at a bus. The numbers are those of the IEEE common data format's descendants.
type BusType uint8

// The bus types. PV and Slack hold the voltage only while a generator there is in service, else the bus is PQ.
const (
	PQ       BusType = 1 // active and reactive injection are given
	PV       BusType = 2 // active injection and voltage magnitude are given
	Slack    BusType = 3 // voltage magnitude and angle are given
	Isolated BusType = 4 // taken out: de-energised whatever is connected
)

// Bus is a node of the grid. Numbers are unique in a case and need not be dense.
type Bus struct {
	Number   int
	Type     BusType
	LoadMW   float64
	LoadMVAr float64
	ShuntMW  float64 // consumed at 1 pu
	// ShuntMVAr is injected at 1 pu: positive for a capacitor.
	ShuntMVAr float64
	BaseKV    float64
	VMin      float64 // pu
	VMax      float64 // pu
	Vm        float64 // start value, pu; 0 means 1
	Va        float64 // start value, degrees; at the slack bus it is the reference that is held
}

// Branch is a line or a transformer in the usual pi model: series impedance R+jX, total charging B half at each end,
// behind an ideal transformer Tap∠ShiftDeg at the from side. All in pu on Case.BaseMVA.
type Branch struct {
	From, To  int // bus numbers
	R, X, B   float64
	RatingMVA float64 // 0 = unrated
	Tap       float64 // off-nominal ratio at the from side; 0 = a line, which counts as ratio 1
	ShiftDeg  float64 // positive delays the to side
	InService bool
}

// Gen is a generating unit. Several may stand at one bus: the last in service sets the voltage there.
type Gen struct {
	Bus        int     // bus number
	P, Q       float64 // MW, MVAr; Q is used at PQ buses only
	QMin, QMax float64 // MVAr; may be infinite
	PMin, PMax float64 // MW; may be infinite
	V          float64 // set point, pu
	InService  bool
}

// Case is one grid in one state.
type Case struct {
	Name     string
	BaseMVA  float64
	Buses    []Bus
	Branches []Branch
	Gens     []Gen
}

// Options of a solve; the zero value asks for the defaults.
type Options struct {
	Tolerance     float64 // largest power mismatch at any bus, pu; default 1e-8, allowed 1e-12 to 1e-2
	MaxIterations int     // default 20, allowed 1 to 100
	// Flat starts at 1 pu and the slack's angle instead of at the case's Vm and Va.
	Flat bool
	// Warm starts from the voltages of a former solution of the same network; it takes precedence over Flat.
	// A bus that was dead there starts flat. It may be the very solution that is being filled.
	Warm *Solution
}

// Flow is the power that enters a branch at each end, in MW and MVAr; zero where the branch is out of service or dead.
type Flow struct{ Pf, Qf, Pt, Qt float64 }

// Island is one energised part of the grid.
type Island struct {
	Slack    int     // index of the bus that balances it
	Buses    int     // number of buses
	SlackP   float64 // generation at the slack bus, MW
	SlackQ   float64 // MVAr
	LoadMW   float64
	GenMW    float64
	LossesMW float64 // series and charging losses of branches; shunts are not losses
}

// Solution is the state of the grid. Slices run parallel to the case's Buses, Branches and Gens. The zero value is
// ready to be filled by [Solver.Solve], which reuses its memory.
type Solution struct {
	Vm, Va      []float64 // pu and rad; 0 at dead buses
	IslandOf    []int32   // index into Islands, -1 at dead buses
	Dead        []bool    // de-energised: no path to a generator in service, or isolated
	Flows       []Flow
	GenP, GenQ  []float64 // MW, MVAr; the share of each unit, 0 out of service or dead
	Islands     []Island
	DeadBuses   int
	Iterations  int     // Newton steps, those that reuse a factorisation included
	MaxMismatch float64 // pu, at the voltages given
	LoadMW      float64 // load served
	LoadLostMW  float64 // load at dead buses
	GenMW       float64
	LossesMW    float64
}

// Reason says why a solve was refused.
type Reason uint8

// The reasons; Solved is the zero value.
const (
	Solved       Reason = iota
	NotConverged        // the mismatch did not fall below the tolerance within the allowed steps
	Singular            // a pivot of the Jacobian vanished
	NotFinite           // a voltage or a mismatch became NaN or infinite
	NoGeneration        // no bus is energised
)

// Refusal is why there is no solution. Solve returns it inside a *vaultmesh.Error of kind Conflict; find it with
// errors.As. The solution that was to be filled is then undefined, except as memory.
type Refusal struct {
	Reason     Reason
	Iterations int
	Mismatch   float64 // pu, at the last step; may be NaN
	Bus        int     // number of the bus with the largest mismatch or the vanished pivot, 0 if none
}

// Limit names the limit that does not hold.
type Limit uint8

// The limits.
const (
	VoltageMin  Limit = iota // pu
	VoltageMax               // pu
	Loading                  // MVA, the larger end against the rating
	ReactiveMin              // MVAr of a generator
	ReactiveMax              // MVAr of a generator
	ActiveMin                // MW of a generator
	ActiveMax                // MW of a generator
)

// Violation is one limit that does not hold in a solution.
type Violation struct {
	Limit Limit
	// Index of the bus (voltage), branch (loading) or generator (active, reactive) in the case.
	Index int
	Value float64
	Bound float64
}

// Outcome of one outage.
type Outcome uint8

// The outcomes.
const (
	Secure    Outcome = iota // solved; whether limits hold is told by the figures
	Islanding                // the outage splits an island; not solved
	Refused                  // no solution was found: Contingency.Reason says why
)

// Contingency is the result of the outage of one branch.
type Contingency struct {
	Branch     int // index in the case
	Outcome    Outcome
	Reason     Reason // of a refused outage
	Iterations int

	// Of a solved outage, over energised buses and branches in service.
	VMin, VMax       float64 // pu
	VMinBus, VMaxBus int     // indices
	MaxMVA           float64 // largest apparent power at any branch end
	MaxMVABranch     int     // index
	MaxLoading       float64 // largest fraction of a rating; 0 where nothing is rated
	MaxLoadingBranch int     // index; -1 where nothing is rated
	LossesMW         float64
	Violations       int     // number of violated limits of voltage and loading
	IslandedBuses    int     // of an islanding outage: buses cut off from the island's slack
	IslandedLoadMW   float64 // load there
	LoadLostMW       float64 // load there if no generator in service is left to supply it, else 0
}

// ContingencyOptions of a screening; the zero value screens every branch in service with default [Options].
type ContingencyOptions struct {
	Tolerance     float64
	MaxIterations int
	// Branches to take out, by index; nil means every branch that is in service and energised.
	Branches []int
	// Visit is called after each outage, in order, with the state after it (nil unless solved). Both are valid
	// during the call only. Return false to stop.
	Visit func(c *Contingency, after *Solution) bool
}
