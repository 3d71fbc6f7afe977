package quota

import "math"

// perDay is how often a window of each period fits into a day. A month has 30 days.
var perDay = [numPeriods]float64{Minute: 24 * 60, Hour: 24, Day: 1, Week: 1. / 7, Month: 1. / 30}

// CallsPerDay returns how many calls all windows together allow in a day, 0 if there are none.
func (t Terms) CallsPerDay() float64 {
	if len(t.Windows) == 0 {
		return 0
	}
	calls := math.Inf(1)
	for _, w := range t.Windows {
		calls = min(calls, float64(w.Limit)*perDay[w.Period])
	}
	return calls
}
