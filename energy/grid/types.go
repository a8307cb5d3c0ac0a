// Package grid owns what a power grid is called: the DTDL models of buses, lines, transformers, generators, loads,
// shunts, the grid as a whole and further equipment of substations (docs/models.md lists all), the names of their properties, telemetry and commands, the identifiers of their
// twins and devices, the file format of grid cases, and the public test cases that it ships. It is on floor 4.
//
// It must not know how power flows (powerflow does), who simulates the fleet (pgdt), nor how twins are stored.
package grid

import "vaultmesh.org/vaultmesh"

// The models of the twins that Twins defines, by DTMI. Models has more: equipment of substations that no public case
// describes.
const (
	ModelBus         = "dtmi:org:vaultmesh:grid:Bus;1"
	ModelBranch      = "dtmi:org:vaultmesh:grid:Branch;1" // what Line and Transformer share; no twin is a bare Branch
	ModelLine        = "dtmi:org:vaultmesh:grid:Line;1"
	ModelTransformer = "dtmi:org:vaultmesh:grid:Transformer;1"
	ModelGenerator   = "dtmi:org:vaultmesh:grid:Generator;1"
	ModelLoad        = "dtmi:org:vaultmesh:grid:Load;1"
	ModelShunt       = "dtmi:org:vaultmesh:grid:Shunt;1"
	ModelCapacitors  = "dtmi:org:vaultmesh:grid:CapacitorBank;1" // a shunt that injects reactive power
	ModelGrid        = "dtmi:org:vaultmesh:grid:Grid;1"
)

// Nameplate properties: fixed at definition. Impedances are in pu on the grid's baseMVA.
const (
	Number      = "number" // bus number of a bus, load or shunt; row in the case, from 1, of a branch or generator
	BaseKV      = "baseKV"
	VMin        = "vMin" // pu
	VMax        = "vMax" // pu
	R           = "r"
	X           = "x"
	B           = "b"
	Rating      = "rating" // MVA, 0 = unrated
	TapMin      = "tapMin"
	TapMax      = "tapMax"
	TapStep     = "tapStep"
	Shift       = "shift"                // degrees
	PMin        = "pMin"                 // MW
	PMax        = "pMax"                 // MW
	QMin        = "qMin"                 // MVAr
	QMax        = "qMax"                 // MVAr
	SlackUnit   = "slack"                // the unit stands at the case's slack bus
	Conductance = "conductance"          // MW consumed at 1 pu
	Susceptance = "susceptance"          // MVAr injected at 1 pu
	NominalKV   = "nominalVoltage"       // kV of a capacitor bank, 0 = not known
	NominalP    = "nominalActivePower"   // MW of a load
	NominalQ    = "nominalReactivePower" // MVAr of a load
	CaseName    = "caseName"
	BaseMVA     = "baseMVA"
)

// Reported properties.
const (
	Closed              = "closed"
	Tap                 = "tap"
	Connected           = "connected"
	ActivePowerSetpoint = "activePowerSetpoint" // MW
	VoltageSetpoint     = "voltageSetpoint"     // pu
	Shed                = "shedFraction"        // of the load that is disconnected, 0 to 1; DTDL wants a name other than the command's
	DeadBuses           = "deadBuses"
)

// Telemetry.
const (
	Voltage           = "voltage" // pu
	Angle             = "angle"   // degrees
	ActivePowerFrom   = "activePowerFrom"
	ReactivePowerFrom = "reactivePowerFrom"
	ActivePowerTo     = "activePowerTo"
	ReactivePowerTo   = "reactivePowerTo"
	LoadingFraction   = "loading" // fraction of the rating
	ActivePower       = "activePower"
	ReactivePower     = "reactivePower"
	Frequency         = "frequency" // Hz
	TotalLoad         = "load"      // MW
	TotalGeneration   = "generation"
	Losses            = "losses"
)

// Relationships.
const (
	FromBus = "from"
	ToBus   = "to"
	AtBus   = "bus"
)

// Commands, each followed by the fields of its request.
const (
	OpenBreaker    = "openBreaker"
	CloseBreaker   = "closeBreaker"
	SetTap         = "setTap"
	ArgRatio       = "ratio"
	SetActivePower = "setActivePower"
	ArgMegawatts   = "megawatts"
	SetVoltage     = "setVoltage"
	ArgPerUnit     = "perUnit"
	Connect        = "connect"
	Disconnect     = "disconnect"
	ShedLoad       = "shed"
	ArgFraction    = "fraction"
	RestoreLoad    = "restore"
	InjectFault    = "injectFault"
	ArgElement     = "element"
	ArgKind        = "kind"
)

// Kinds of fault that injectFault takes.
const (
	FaultBranchTrip    = "branchTrip"
	FaultGeneratorTrip = "generatorTrip"
	FaultSensorStuck   = "sensorStuck"
	FaultClear         = "clear"
)

// TwinGrid is the one twin of the grid as a whole, and ControlCenter the device that speaks for it.
const (
	TwinGrid      vaultmesh.TwinID   = "grid"
	ControlCenter vaultmesh.DeviceID = "control-center"
)

// ElementKind says which list of the case an element is in.
type ElementKind uint8

// The kinds. A load and a shunt are found by the index of their bus.
const (
	KindBus ElementKind = iota
	KindBranch
	KindGen
	KindLoad
	KindShunt
	KindGrid
)

// Element is a position in a case.
type Element struct {
	Kind  ElementKind
	Index int
}

// Index gives the twin of every element of a case, and back. Immutable, safe for concurrent use.
type Index struct {
	Bus    []vaultmesh.TwinID // parallel to the case's Buses
	Branch []vaultmesh.TwinID // parallel to Branches
	Gen    []vaultmesh.TwinID // parallel to Gens
	Load   []vaultmesh.TwinID // parallel to Buses; "" where there is no load
	Shunt  []vaultmesh.TwinID // parallel to Buses; "" where there is no shunt
	// Device that speaks for each element, parallel to the same lists.
	BusDevice, BranchDevice, GenDevice []vaultmesh.DeviceID

	elements map[vaultmesh.TwinID]Element
}
