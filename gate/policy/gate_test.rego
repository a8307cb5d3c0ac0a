package vaultmesh.gate_test

import data.vaultmesh.gate

ask(kind, command) := {
	"principal": {"id": sprintf("%s:x", [kind]), "kind": kind, "roles": []},
	"twin": {"id": "asset-1", "nameplate": {}},
	"command": command,
}

decide(kind, command) := d if {
	d := gate.decision with input as ask(kind, command)
}

test_agent_setpoints if {
	every command in ["setActivePower", "setVoltage", "setTap"] {
		d := decide("agent", command)
		d.outcome == "allow"
		d.unsimulated_ok == false
	}
}

test_agent_switching_needs_approval_and_n1 if {
	every command in ["openBreaker", "closeBreaker", "connect", "disconnect", "restore"] {
		d := decide("agent", command)
		d.outcome == "needs_approval"
		d.n1 == true
		d.approvers.count == 1
		d.approvers.roles == ["operator"]
		count(d.reasons) == 1
	}
}

test_agent_may_not_shed_or_break if {
	every command in ["shed", "injectFault"] {
		d := decide("agent", command)
		d.outcome == "deny"
		d.reasons[0].fix != ""
	}
}

test_operator_may if {
	every command in ["setActivePower", "setVoltage", "setTap", "openBreaker", "shed", "restore", "injectFault"] {
		decide("operator", command).outcome == "allow"
	}
}

test_operator_switching_asks_n1 if {
	every command in ["openBreaker", "closeBreaker", "connect", "disconnect"] {
		decide("operator", command).n1 == true
	}
}

test_critical_by_table_needs_second_person if {
	d := gate.decision with input as ask("operator", "openBreaker") with data.site.critical_twins as ["asset-1"]
	d.outcome == "needs_approval"
	d.n1 == true
	d.approvers.count == 1
}

test_critical_by_nameplate_needs_second_person if {
	q := object.union(ask("operator", "openBreaker"), {"twin": {"nameplate": {"critical": true}}})
	d := gate.decision with input as q
	d.outcome == "needs_approval"
}

test_mistyped_mark_is_critical if {
	q := object.union(ask("operator", "openBreaker"), {"twin": {"nameplate": {"critical": "true"}}})
	d := gate.decision with input as q
	d.outcome == "needs_approval"
}

test_plainly_not_critical if {
	q := object.union(ask("operator", "openBreaker"), {"twin": {"nameplate": {"critical": false}}})
	d := gate.decision with input as q
	d.outcome == "allow"
}

test_without_the_table_of_critical_twins_all_is_denied if {
	d := gate.decision with input as ask("operator", "setTap") with data.site.critical_twins as "asset-1"
	d.outcome == "deny"
}

test_critical_leaves_setpoints if {
	d := gate.decision with input as ask("operator", "setTap") with data.site.critical_twins as ["asset-1"]
	d.outcome == "allow"
}

test_unknown_is_denied if {
	every pair in [["agent", "selfDestruct"], ["device", "setTap"], ["node", "openBreaker"], ["", ""], ["operator", "OPENBREAKER"]] {
		decide(pair[0], pair[1]).outcome == "deny"
	}
}

test_command_in_two_classes_is_denied if {
	d := gate.decision with input as ask("agent", "setTap") with data.site.classes as {"setpoint": ["setTap"], "fault": ["setTap"]}
	d.outcome == "deny"
}

test_no_input_is_denied if {
	d := gate.decision with input as {}
	d.outcome == "deny"
}
