package fsck

// Hot bounds the subjects in memory.
func (o *Options) Hot(n int) { o.hot = n }
