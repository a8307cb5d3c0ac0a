package capability

// match reports whether s is in the language of pattern, whose only wildcard is *. It takes at most
// len(pattern)*len(s) steps: after a mismatch only the last * is widened, which is enough because an earlier one
// already matched as little as it could.
func match(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// covers reports whether every text that inner matches is matched by outer as well. A * of inner can be any text, so
// only a * of outer can stand for it: that is what match does with a * on its right side.
func covers(outer, inner string) bool { return match(outer, inner) }

// matchAny reports whether one of the patterns matches s.
func matchAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if match(p, s) {
			return true
		}
	}
	return false
}
