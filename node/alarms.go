package node

import (
	"fmt"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/lawchain"
)

// failingFor is how long something may fail that is tried again before a person must look at it.
const failingFor = 5 * time.Minute

// alarms returns what a person must look at, the gravest first.
func (n *Node) alarms() []httpapi.Alarm {
	out := n.witnessAlarms()
	out = n.failing(out, "the published log", httpapi.AlarmPublication, httpapi.AlarmPublishRefused, n.storage.tiles.Failing)
	if n.storage.archiver != nil {
		out = n.failing(out, "the archive", httpapi.AlarmArchive, httpapi.AlarmArchiveRefused, n.storage.archiver.Failing)
	}
	coverage, err := n.anchors.Coverage()
	if err != nil {
		n.l.Warn("what the anchors cover cannot be read", "error", err)
	}
	for _, c := range coverage {
		if c.Warning != "" {
			out = append(out, httpapi.Alarm{Code: httpapi.AlarmAnchorOverdue, Subject: c.Target, Since: c.Oldest, Detail: c.Warning, Fix: "see vaultmesh anchor list; the node goes on trying by itself"})
		}
	}
	return n.delegationAlarms(out)
}

// witnessAlarms says where a witness holds another tree of this log, and where there is no quorum.
func (n *Node) witnessAlarms() (out []httpapi.Alarm) {
	if n.witness.feeder == nil {
		return nil
	}
	s := n.witness.feeder.Status()
	for _, p := range s.Peers {
		switch p.Conflict {
		case "":
		case "rollback":
			out = append(out, httpapi.Alarm{Code: httpapi.AlarmRolledBack, Subject: p.Name, Detail: "this witness has seen a larger tree of this log: the node was put back to an earlier state, runs twice, or its key is in other hands",
				Fix: "stop the node and find out which; restore the newest copy of its data. The notes are in witness-alarms of the data folder: vaultmesh witness conflicts"})
		default:
			out = append(out, httpapi.Alarm{Code: httpapi.AlarmConflict, Subject: p.Name, Detail: fmt.Sprintf("this witness holds another tree under this log's name (%s): the node was put back and went on, runs twice, its key is in other hands, or the witness lies", p.Conflict),
				Fix: "stop the node and find out which. The notes are in witness-alarms of the data folder: vaultmesh witness conflicts"})
		}
	}
	if n.witness.feeder.Overdue() {
		out = append(out, httpapi.Alarm{Code: httpapi.AlarmUnwitnessed, Since: s.Unmet, Detail: fmt.Sprintf("no quorum of witnesses since %s; the log is published without", s.Unmet.UTC().Format(time.RFC3339)), Fix: "see vaultmesh witness status for what each witness answers"})
	}
	return out
}

// failing adds the alarm of something that has failed for too long, or that refuses this log.
func (n *Node) failing(out []httpapi.Alarm, what, falls, refused string, last func() (time.Time, error)) []httpapi.Alarm {
	since, err := last()
	switch {
	case vaultmesh.KindOf(err) == vaultmesh.Corrupt && err != nil:
		return append(out, httpapi.Alarm{Code: refused, Since: since, Detail: what + " holds what this log does not extend: this node was put back, or somebody else writes there", Fix: "read the node's log for what was found, and vaultmesh fsck for a verdict; it is not repaired by itself"})
	case err != nil && n.now().Sub(since) > failingFor:
		return append(out, httpapi.Alarm{Code: falls, Since: since, Detail: what + " cannot be written", Fix: "read the node's log for the cause; it is tried again, and nothing is lost meanwhile"})
	}
	return out
}

// delegationAlarms says which of the node's keys the root will not vouch for much longer: the node stops then.
func (n *Node) delegationAlarms(out []httpapi.Alarm) []httpapi.Alarm {
	if n.cfg.Keys.Root.Provider == "" {
		return out
	}
	h, err := lawchain.ReadKeys(n.journal, n.cfg.Domain, n.root.roots())
	if err != nil || h == nil {
		n.l.Warn("the keys of the log cannot be read", "error", err)
		return out
	}
	for _, purpose := range purposes {
		if _, ends := n.delegation(h, purpose); ends.Sub(n.now()) < n.cfg.Keys.Validity/4 {
			out = append(out, httpapi.Alarm{Code: httpapi.AlarmDelegationsEnds, Subject: purpose, Detail: fmt.Sprintf("the root vouches for the %s key until %s, and the node stops then", purpose, ends.UTC().Format(time.RFC3339)), Fix: "bring the root into reach; the node asks it by itself"})
		}
	}
	return out
}
