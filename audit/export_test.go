package audit

// OnStep has fn called between two steps of what a crash may cut in two.
func (l *Log) OnStep(fn func(string)) { l.onStep = fn }
