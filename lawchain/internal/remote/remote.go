// Package remote owns how the address of somebody else's server shows in errors and logs. It is on floor 2.
//
// An address may hold a secret anywhere behind the host (http://user:password@host/key?apikey=key): only scheme and host
// are ever shown. It must not know what is asked there.
package remote

import (
	"errors"
	"net/url"
)

// Place names the server of an address: its scheme and host. What is not an address gives "".
func Place(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Cause takes the address out of an error of net/http, which puts it in front of what happened. Other errors are returned
// as they are.
func Cause(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err
}
