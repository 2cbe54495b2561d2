package legal

import (
	"slices"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

// Open computes the case of an item.
func Open(in Input) Case {
	r := in.read(in.Now)
	who := addressee(in.Events, in.Item.Key.N, in.Rules.Calendar, in.Now)
	c := Case{
		Item: in.Item.Key, Recipient: in.Item.Recipient.Address.String(), Reference: in.Item.Reference, Platform: in.Item.Decision.Via,
		Now: in.Now, State: r.state, Because: r.because, Service: r.service, Expected: r.expected, Alternative: r.alternative,
		Profile: in.Rules.Profile, Addressee: who, HandedOver: in.Item.HandedOver, Erased: in.Item.Erased,
	}
	c.Periods = periods(r.service.Date, who)
	c.Versions = in.versions()
	c.Trail = in.trail(c.Versions)
	c.Tasks = in.tasks(c.Versions)
	c.Alarms, c.Next = in.alarms(c)
	return c
}

// periods counts what service on a day starts, under every profile.
func periods(service calendar.Day, who Addressee) []calendar.Period {
	holidays, err := calendar.For(who.Calendar)
	if err != nil || service.IsZero() {
		return nil
	}
	var list []calendar.Period
	for _, rule := range calendar.Rules() {
		list = append(list, calendar.Count(service, rule, holidays))
	}
	return list
}

// moments lists, in order, the instants up to now at which the reading can have
// changed: when something verified came, when a person said something, when a
// seventh day was over.
func (in Input) moments() []time.Time {
	var list []time.Time
	add := func(t time.Time) {
		if !t.IsZero() && !t.After(in.Now) {
			list = append(list, t)
		}
	}
	for _, r := range in.Receipts {
		if r.Item != in.Item.Key || r.Verdict != message.Verified {
			continue
		}
		add(r.Received)
		switch r.Kind {
		case message.Abgabequittung, message.ArchiveCopy, message.Bereitstellung, message.Weitergabe:
			if over := calendar.FictionDay(r.At).End(); !over.Before(r.Received) {
				add(over)
			}
		}
	}
	for _, e := range in.Events {
		if e.Item == in.Item.Key.N && (e.Kind == message.EventStated || e.Kind == message.EventTaskClosed) {
			add(e.At)
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	return slices.CompactFunc(list, time.Time.Equal)
}

// versions replays what was known when: each change of the reading is a version
// of its own, and none is ever taken away.
func (in Input) versions() []Version {
	var list []Version
	for _, at := range in.moments() {
		r := in.read(at)
		v := Version{N: len(list) + 1, At: at, State: r.state, Service: r.service, Because: r.because, Task: r.task}
		if last := len(list) - 1; last >= 0 && list[last].State == v.State && list[last].Service == v.Service && list[last].Because == v.Because {
			continue
		}
		for i := len(list) - 1; i >= 0; i-- {
			if before := list[i].Service.Date; !before.IsZero() {
				if before != v.Service.Date {
					v.Corrects = list[i].N
				}
				break
			}
		}
		for _, got := range in.Receipts {
			if got.Item == in.Item.Key && got.Verdict == message.Verified && got.Received.Equal(at) {
				v.Receipts = append(v.Receipts, got.ID)
			}
		}
		slices.SortFunc(v.Receipts, func(a, b message.ID) int { return strings.Compare(a.String(), b.String()) })
		for _, p := range periods(v.Service.Date, addressee(in.Events, in.Item.Key.N, in.Rules.Calendar, at)) {
			v.LastDays = append(v.LastDays, p.Last)
		}
		list = append(list, v)
	}
	return list
}

// tasks lists what a person had and has to do: what a version asked for, until
// it is closed or no longer asked for.
func (in Input) tasks(versions []Version) []Task {
	asked := map[TaskCode]time.Time{}
	ask := func(code TaskCode, at time.Time) {
		if _, known := asked[code]; code != "" && !known {
			asked[code] = at
		}
	}
	for _, v := range versions {
		ask(v.Task, v.At)
	}
	for _, r := range in.Receipts {
		if r.Item == in.Item.Key && r.Verdict == message.Verified && r.Code == outsidePlatform && !r.Received.After(in.Now) {
			ask(TaskDelivery, r.Received)
		}
	}
	current := in.read(in.Now).task
	var list []Task
	for _, code := range TaskCodes() {
		since, ok := asked[code]
		if !ok {
			continue
		}
		t := Task{Code: code, Since: since, Text: taskText(code)}
		t.Closed, t.By, t.How = in.closing(string(code), since)
		if t.Closed.IsZero() && code != current && code != TaskDelivery {
			continue // a later receipt has settled it
		}
		list = append(list, t)
	}
	return list
}

// closing returns when, by whom and how a person last closed a task or an alarm
// since an instant.
func (in Input) closing(code string, since time.Time) (at time.Time, by, how string) {
	for _, e := range in.Events {
		said := e.Kind == message.EventStated || e.Kind == message.EventTaskClosed
		if said && e.Item == in.Item.Key.N && e.Data[KeyTask] == code && !e.At.Before(since) && !e.At.After(in.Now) {
			at, by, how = e.At, e.Data[KeyBy], e.Data[KeyReason]
		}
	}
	return at, by, how
}

// outsidePlatform is PrivaSphere's delivery code of what left the platform.
const outsidePlatform = "13"

func taskText(code TaskCode) string {
	switch code {
	case TaskPost:
		return "serve it by post: it does not count as served"
	case TaskExpect:
		return "say whether the party had to expect mail of this authority: only then the seventh day counts"
	case TaskReceipt:
		return "ask the platform for the Abgabequittung: without it the seventh day cannot be computed"
	case TaskEvidence:
		return "compare what the platform has receipted with what was sent; the case stands still until then"
	case TaskDelivery:
		return "the platform delivered outside of itself: check whether it arrived"
	}
	return ""
}
