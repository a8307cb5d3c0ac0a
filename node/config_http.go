package node

// maxPlaces bounds each number of connections and requests: what is beyond it fits into no process.
const maxPlaces = 1 << 16

// check bounds the places of connections and requests.
func (c HTTPConfig) check() error {
	for _, x := range []struct {
		key string
		n   int
	}{{"http.connections", c.Connections}, {"http.requests", c.Requests}, {"http.reserved_requests", c.Reserved}, {"http.open_requests", c.Open}, {"http.feeds", c.Feeds}} {
		if x.n < 1 || x.n > maxPlaces {
			return badConfig(x.key, "%d", x.n).WithFix("want 1 to %d", maxPlaces)
		}
	}
	if need := c.Requests + c.Reserved + c.Open + c.Feeds; c.Connections < need {
		return badConfig("http.connections", "%d is less than http.requests, http.reserved_requests, http.open_requests and http.feeds together, %d", c.Connections, need).
			WithFix("a request needs a connection: raise the one or lower the others")
	}
	return nil
}
