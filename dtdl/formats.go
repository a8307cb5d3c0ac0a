package dtdl

// The text forms of primitive schemas. Every function takes the decoded text of a JSON string.

// isDate reports whether s is a full-date of RFC 3339 in the years 0001 to 9999.
func isDate(s []byte) bool {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return false
	}
	year, ok := decimals(s[:4])
	if !ok || year == 0 {
		return false
	}
	month, ok := decimals(s[5:7])
	if !ok || month < 1 || month > 12 {
		return false
	}
	day, ok := decimals(s[8:])
	return ok && day >= 1 && day <= daysOf(year, month)
}

func daysOf(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// isTime reports whether s is a full-time of RFC 3339, with its offset. A leap second is refused, since it
// has no place on the time line that the nodes use.
func isTime(s []byte) bool {
	if len(s) < 9 || s[2] != ':' || s[5] != ':' || !below(s[:2], 24) || !below(s[3:5], 60) || !below(s[6:8], 60) {
		return false
	}
	s = s[8:]
	if s[0] == '.' {
		n := 1
		for n < len(s) && isDigit(s[n]) {
			n++
		}
		if n == 1 {
			return false
		}
		s = s[n:]
	}
	switch {
	case len(s) == 1:
		return s[0] == 'Z'
	case len(s) == 6 && (s[0] == '+' || s[0] == '-') && s[3] == ':':
		return below(s[1:3], 24) && below(s[4:], 60)
	}
	return false
}

// isDateTime reports whether s is a date-time of RFC 3339 with an upper-case T and Z.
func isDateTime(s []byte) bool {
	return len(s) > 11 && s[10] == 'T' && isDate(s[:10]) && isTime(s[11:])
}

func decimals(s []byte) (n int, ok bool) {
	for _, c := range s {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

func below(s []byte, limit int) bool {
	n, ok := decimals(s)
	return ok && n < limit
}

// isDuration reports whether s is a duration of ISO 8601: "P", then years, months and days or weeks and
// days, then "T" and hours, minutes, seconds; at least one part, and only the last may have a fraction.
func isDuration(s []byte) bool {
	if len(s) < 3 || s[0] != 'P' {
		return false
	}
	const dateUnits, weekUnits, timeUnits = "YMD", "WD", "HMS"
	units, parts, fraction, weeks, months := dateUnits, 0, false, false, false
	inTime := false
	for i := 1; i < len(s); {
		if s[i] == 'T' && !inTime {
			inTime, units = true, timeUnits
			if i++; i == len(s) {
				return false
			}
			continue
		}
		start := i
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		if i == start || fraction {
			return false
		}
		if i < len(s) && s[i] == '.' {
			fraction = true
			start = i + 1
			for i++; i < len(s) && isDigit(s[i]); i++ {
			}
			if i == start {
				return false
			}
		}
		if i == len(s) {
			return false
		}
		if s[i] == 'W' && !inTime && !weeks && !months {
			weeks, units = true, weekUnits
		}
		at := -1
		for j := 0; j < len(units); j++ {
			if units[j] == s[i] {
				at = j
			}
		}
		if at < 0 {
			return false
		}
		months = months || !inTime
		units = units[at+1:]
		parts++
		i++
	}
	return parts > 0
}

// isDecimal reports whether s is decimal digits without a leading zero, with an optional sign in front and
// an optional point behind them that digits may follow.
func isDecimal(s []byte) bool {
	if len(s) > 0 && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	if n == 0 || n > 1 && s[0] == '0' {
		return false
	}
	if n == len(s) {
		return true
	}
	_, ok := decimals(s[n+1:])
	return s[n] == '.' && ok
}

// isUUID reports whether s is a UUID of RFC 9562 in its text form, with digits of either case.
func isUUID(s []byte) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return false
			}
		}
	}
	return true
}

// isBase64 reports whether s is base64 of RFC 4648 section 4, with its padding and without line breaks.
func isBase64(s []byte) bool {
	if len(s)%4 != 0 {
		return false
	}
	for i, c := range s {
		switch {
		case isLetter(c), isDigit(c), c == '+', c == '/':
		case c == '=' && (i == len(s)-1 || i == len(s)-2 && s[i+1] == '='):
		default:
			return false
		}
	}
	return true
}
