package httpapi

import (
	"encoding/json"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/witness"
)

// Who cosigns the log is for those who may read the whole domain; a log without witnesses says so.
func TestWitnesses(t *testing.T) {
	w := newWorld(t)
	_, none := serve(t, options(t, w))
	_, err := client(t, none, "operator").Witnesses(t.Context())
	wantError(t, err, vaultmesh.NotFound, "no witnesses")

	o := options(t, w)
	want := witness.Status{Size: 7, Alarm: true, Conflict: "rollback", Peers: []witness.PeerStatus{{Name: "south", URL: "https://south.example", Cosigned: 9, Failures: 2, Conflict: "rollback", Error: "it holds another tree"}}}
	o.Witnesses = func() witness.Status { return want }
	_, address := serve(t, o)
	got, err := client(t, address, "operator").Witnesses(t.Context())
	if err != nil || got.Size != 7 || !got.Alarm || got.Conflict != "rollback" || len(got.Peers) != 1 || got.Peers[0] != want.Peers[0] {
		t.Fatalf("%+v %v", got, err)
	}
	_, err = client(t, address, "reader").Witnesses(t.Context())
	wantError(t, err, vaultmesh.Denied)
}

// What a person must look at is for those who may read the whole domain, and an empty list where all is well.
func TestAlarms(t *testing.T) {
	w := newWorld(t)
	_, none := serve(t, options(t, w))
	if got, err := client(t, none, "operator").Alarms(t.Context()); err != nil || got == nil || len(got) != 0 {
		t.Fatalf("%+v %v", got, err)
	}
	o := options(t, w)
	want := Alarm{Code: AlarmRolledBack, Subject: "south", Since: epoch, Detail: "a larger tree", Fix: "stop"}
	o.Alarms = func() []Alarm { return []Alarm{want} }
	_, address := serve(t, o)
	got, err := client(t, address, "operator").Alarms(t.Context())
	if err != nil || len(got) != 1 || got[0] != want {
		t.Fatalf("%+v %v", got, err)
	}
	_, err = client(t, address, "reader").Alarms(t.Context())
	wantError(t, err, vaultmesh.Denied)
	doc, err := json.Marshal(AlarmList{got})
	if err != nil {
		t.Fatal(err)
	}
	loadSpec(t).validate(t, "alarms", doc, "components", "schemas", "AlarmList")
}
