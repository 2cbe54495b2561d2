package retention

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// stampExt is the file beside a protocol with the answer of the time-stamping
// authority (RFC 3161 TimeStampResp, as it came).
const stampExt = ".tsr"

// StampProtocols has every protocol of a folder stamped that is not yet, the
// oldest first, and returns how many were. It stops at the first that fails: the
// authority may be out of reach, and the next call begins there. A stamp is
// written whole or not at all.
func StampProtocols(ctx context.Context, dir string, stamp func(ctx context.Context, content io.Reader) ([]byte, error)) (n int, err error) {
	all, err := protocols(dir, protocolExt)
	if err != nil {
		return 0, err
	}
	for _, name := range all {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path + stampExt); err == nil {
			continue
		}
		if err := stampProtocol(ctx, path, stamp); err != nil {
			return n, fmt.Errorf("time stamp of protocol %s: %w", name, err)
		}
		n++
	}
	return n, nil
}

func stampProtocol(ctx context.Context, path string, stamp func(ctx context.Context, content io.Reader) ([]byte, error)) error {
	f, err := os.Open(path + protocolExt)
	if err != nil {
		return err
	}
	defer f.Close()
	answer, err := stamp(ctx, f)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path+stampExt+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(answer)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), path+stampExt)
}

// maxStamp bounds what is read of a stamp: the folder may be a stranger's copy.
const maxStamp = 1 << 20

func readStamp(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxStamp)) // longer than that it is cut, and refused
}

// CheckStamps holds the stamps beside the protocols of a folder, which must be
// verified already, against check, and adds them to the report. A protocol
// without one is no fault: its authority may have been out of reach. Without
// check they are only counted.
func (r *ChainReport) CheckStamps(dir string, check func(response []byte, content io.Reader) error) error {
	if !r.OK() {
		return nil
	}
	all, err := protocols(dir, protocolExt)
	if err != nil {
		return err
	}
	for _, name := range all {
		path := filepath.Join(dir, name)
		response, err := readStamp(path + stampExt)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		r.Stamps++
		if check == nil {
			continue
		}
		f, err := os.Open(path + protocolExt)
		if err != nil {
			return err
		}
		err = check(response, f)
		f.Close()
		if err != nil {
			r.Bad = fmt.Sprintf("protocol %s: its time stamp: %v", name, err)
			return nil
		}
		r.Stamped++
	}
	return nil
}
