package mcpapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
)

// Options of a [Server]. Backend is required; Authenticate is required for [Server.Handler].
type Options struct {
	Backend Backend
	Domain  vaultmesh.Domain // the realm that a 401 names; default "vaultmesh"
	Version string           // of the product, told to clients; default "dev"

	// Authenticate proves who sends a request over HTTP: it verifies the capability token and the proof of possession
	// (or mTLS), and returns the caller and the request to go on with, whose body must be readable again in full. The
	// body that it reads is bounded by Limits.Body. An error answers 401, or 429 and 503 where its kind is retryable.
	Authenticate func(r *http.Request) (control.Caller, *http.Request, error)
	// Origins are the origins ("https://console.example") of browser pages that may call; others are refused.
	Origins []string

	// Caller is who calls over standard input and output; the zero caller where the backend has its own credentials.
	Caller control.Caller

	// Commands describes the commands of a model for get_twin; nil leaves them out.
	Commands func(ctx context.Context, model string) ([]CommandDoc, error)

	Limits Limits
	Now    func() time.Time // default time.Now
	Log    *slog.Logger     // default slog.Default; tokens, arguments and payloads are never logged
}

// Limits bound what comes from outside. Zero fields take their default.
type Limits struct {
	Body       int64         // bytes of one message; default 1 MiB
	Answer     int           // bytes of one structured answer; default 512 KiB
	Bundle     int           // bytes of a bundle read as a resource; default 8 MiB
	CallTime   time.Duration // for which the backend may work on one call, waiting excepted; default 30 s
	Rate       float64       // requests a second of one principal, on average; default 50
	Burst      int           // requests of one principal at once; default 200
	Concurrent int           // requests of one principal at work over HTTP; default 32

	Sessions          int           // of clients before 2026-07-28; default 1024
	SessionsPerCaller int           // of one principal; default 32
	SessionIdle       time.Duration // after which a session is closed; default 15 min
}

func (o *Options) setDefaults() {
	set(&o.Domain, "vaultmesh")
	set(&o.Version, "dev")
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	l := &o.Limits
	set(&l.Body, 1<<20)
	set(&l.Answer, 512<<10)
	set(&l.Bundle, 8<<20)
	set(&l.CallTime, 30*time.Second)
	set(&l.Rate, 50)
	set(&l.Burst, 200)
	set(&l.Concurrent, 32)
	set(&l.Sessions, 1024)
	set(&l.SessionsPerCaller, 32)
	set(&l.SessionIdle, 15*time.Minute)
}

func set[T comparable](field *T, otherwise T) {
	var zero T
	if *field == zero {
		*field = otherwise
	}
}

func (o *Options) check() error {
	const op = "mcp.options"
	if o.Backend == nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "Backend", "it is missing").WithFix("give the node or a client of it")
	}
	l := o.Limits
	if l.Body < 0 || l.Answer < 0 || l.Bundle < 0 || l.CallTime < 0 || l.Rate < 0 || l.Burst < 0 || l.Concurrent < 0 ||
		l.Sessions < 0 || l.SessionsPerCaller < 0 || l.SessionIdle < 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "Limits", "a limit is negative").WithFix("leave it 0 for the default")
	}
	return nil
}
