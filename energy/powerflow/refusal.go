package powerflow

import "fmt"

var reasonText = [...]string{
	Solved:       "solved",
	NotConverged: "the mismatch did not vanish",
	Singular:     "the Jacobian is singular",
	NotFinite:    "the iteration left the finite numbers",
	NoGeneration: "no bus is energised",
}

func (r Reason) String() string {
	if int(r) < len(reasonText) {
		return reasonText[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

func (r *Refusal) Error() string {
	if r.Bus == 0 {
		return r.Reason.String()
	}
	return fmt.Sprintf("%s after %d iterations; at bus %d the mismatch is %.3g pu", r.Reason, r.Iterations, r.Bus, r.Mismatch)
}

var limitText = [...]string{
	VoltageMin: "voltage_min", VoltageMax: "voltage_max", Loading: "loading",
	ReactiveMin: "reactive_min", ReactiveMax: "reactive_max", ActiveMin: "active_min", ActiveMax: "active_max",
}

func (l Limit) String() string {
	if int(l) < len(limitText) {
		return limitText[l]
	}
	return fmt.Sprintf("limit(%d)", uint8(l))
}

var outcomeText = [...]string{Secure: "secure", Islanding: "islanding", Refused: "refused"}

func (o Outcome) String() string {
	if int(o) < len(outcomeText) {
		return outcomeText[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}
