# METADATA
# description: |
#   The decision on one command, read from the tables in data.site: a command has one class, and the kind of the
#   principal has one rule for each class. A site extends the tables; what no table names is denied.
package vaultmesh.gate

# The class of the command; a command in two classes has none.
classes := {class | some class, commands in data.site.classes; input.command in commands}

class := c if {
	count(classes) == 1
	some c in classes
}

critical if input.twin.id in data.site.critical_twins

# Whatever is not plainly false marks the twin: a mistyped mark must not take the protection away.
critical if input.twin.nameplate.critical != false

entry := data.site.rules[input.principal.kind][class]

# What the tables say for this twin: where it is critical, the entry's "critical" part goes over the entry.
rule := object.union(entry, entry.critical) if {
	critical
	entry.critical
} else := entry

default decision := {
	"outcome": "deny",
	"reasons": [{
		"code": "unknown",
		"text": "no rule lets this kind of principal give this command",
		"fix": "use a command that the policy knows, or have the policy extended",
	}],
}

decision := object.union(
	{
		"outcome": rule.outcome,
		"reasons": [rule.reason | rule.reason],
		"n1": object.get(rule, "n1", false),
		"unsimulated_ok": object.get(rule, "unsimulated_ok", false),
	},
	object.filter(rule, ["approvers"]),
) if {
	is_array(data.site.critical_twins)
}
