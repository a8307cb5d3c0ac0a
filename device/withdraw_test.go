package device_test

import (
	"testing"

	"github.com/eclipse/paho.golang/paho/session/state"
)

// A command that was written and not acknowledged is withdrawn (the domain is halted): the session that comes back must
// not get it.
func TestWithdrawnIsNotSentAgain(t *testing.T) {
	n := start(t, nil)
	keep := state.NewInMemory()
	defer keep.Close()
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{resume: keep, expiry: 600, manual: true})
	c.subscribe(t, "vm/sub-8/cmd/#")
	o := command(1, "sub-8")
	n.Dispatch(n.source.add(o))
	receive(t, "command", c.got)
	c.TerminateConnectionForTest()
	receive(t, "end of the connection", c.gone)
	<-c.Done()
	receive(t, "online", n.states)
	receive(t, "offline", n.states)
	if n.Withdraw(o) {
		t.Error("a command in flight counted as kept back")
	}
	n.source.add(command(2, "sub-8"))
	c = dial5(t, n.InsecureAddr(), "sub-8", v5options{resume: keep, expiry: 600})
	if m := receive(t, "command", c.got); string(m.Properties.CorrelationData) != "cmd-2" {
		t.Errorf("sent again after it was withdrawn: %s", m.Payload)
	}
}
