package node

import (
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// failpoint returns the hook that kills this process at a named point of a commit: "synced:12" at the twelfth time that
// "synced" is reached. It exists so that tests can prove what survives, and works in the dev profile only.
func failpoint(profile, spec string) func(string) {
	name, count, ok := strings.Cut(spec, ":")
	at, err := strconv.ParseInt(count, 10, 64)
	if profile != "dev" || !ok || err != nil {
		return nil
	}
	var hits atomic.Int64
	return func(point string) {
		if point == name && hits.Add(1) == at {
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
			select {} // the signal arrives before anything else may happen here
		}
	}
}
