package bucket_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/test/logs"
	"vaultmesh.org/vaultmesh/test/peers"
)

// The contract over Google's own client, against an emulator of the JSON API. Object retention is not emulated: that
// part has not met a real service.
func TestContractGCS(t *testing.T) {
	bin := peers.FakeGCS(t)
	port := peers.Port(t)
	host := fmt.Sprintf("127.0.0.1:%d", port)
	peers.Start(t, exec.Command(bin, "-scheme", "http", "-host", "127.0.0.1", "-port", fmt.Sprint(port), "-public-host", host, "-backend", "memory"), peers.Dial(host))
	for _, name := range []string{"plain", "prefixed"} {
		a, err := http.Post("http://"+host+"/storage/v1/b?project=test", "application/json", strings.NewReader(`{"name":"`+name+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Body.Close()
		if a.StatusCode != http.StatusOK {
			t.Fatal(a.Status)
		}
	}
	t.Setenv("STORAGE_EMULATOR_HOST", host) // without a scheme, as gocloud.dev asks
	contract(t, logs.Bucket(t, "gs://plain"))
	b := logs.Bucket(t, "gs://prefixed/some/where")
	contract(t, b)
	if locks, err := b.(bucket.Locker).Locks(t.Context()); err != nil || locks {
		t.Fatalf("the emulator has object retention: %v %v", locks, err)
	}
}
