package node

import (
	"context"

	"vaultmesh.org/vaultmesh"
)

// Bundles at once on one node: each takes a processor for some time and, with its answer, some hundred MiB at most.
const (
	maxBuilds       = 4
	maxBuildsQueued = 16
)

// builds bound the bundles that are built at the same time. It is safe for concurrent use.
type builds struct {
	all  chan struct{} // one for each that is built or waits
	work chan struct{} // one for each that is built
}

func newBuilds() builds {
	return builds{all: make(chan struct{}, maxBuilds+maxBuildsQueued), work: make(chan struct{}, maxBuilds)}
}

// enter waits for its turn until ctx ends. RateLimited where too many wait already.
func (b builds) enter(ctx context.Context) (leave func(), err error) {
	select {
	case b.all <- struct{}{}:
	default:
		return nil, vaultmesh.Errorf(vaultmesh.RateLimited, "bundle", "", "%d bundles are being built and %d wait, which is the limit", maxBuilds, maxBuildsQueued).
			WithFix("ask again in some seconds, and for one bundle at a time")
	}
	select {
	case b.work <- struct{}{}:
		return func() { <-b.work; <-b.all }, nil
	case <-ctx.Done():
		<-b.all
		return nil, ctx.Err()
	}
}
