package connectors

import "errors"

// LinkDown reports whether an error says that the next system cannot be reached
// or takes from nobody now, so that everything that waits for it may wait
// together: what failed was the way there, or the peer closed (RFC 5321 section
// 3.8: 421).
func LinkDown(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Step == StepRoute && e.Kind == Temporary || e.Step.OfLink() || e.Code == 421)
}
