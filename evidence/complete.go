package evidence

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"gatewayd/crypto/cms"
)

// ErrOtherSeal: a seal belongs to another bundle.
var ErrOtherSeal = errors.New("the seal belongs to another bundle: take the one with the bundle's evidence_id")

// Complete writes a bundle that was exported without a time stamp once more, with
// its seal stamped. Every other file stays octet for octet. ErrNoBundle,
// ErrOtherSeal.
func Complete(w io.Writer, path string, stamped []byte) error {
	beside, err := copyOf(stamped)
	if err != nil {
		return fmt.Errorf("complete %s: %w", path, err)
	}
	src, err := openSource(path)
	if err != nil {
		return fmt.Errorf("complete %s: %w", path, err)
	}
	defer src.close()
	var old bytes.Buffer
	if err := src.copyTo(&old, FileSeal); err != nil {
		return fmt.Errorf("complete %s: %s: %w", path, FileSeal, err)
	}
	if err := sameSeal(old.Bytes(), stamped); err != nil {
		return fmt.Errorf("complete %s: %w", path, err)
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		return fmt.Errorf("complete %s: %w", path, errors.Join(ErrNoBundle, err))
	}
	defer z.Close()
	out := zip.NewWriter(w)
	for _, f := range z.File {
		if slices.Contains([]string{FileSeal, FileStamp}, f.Name) {
			continue
		}
		if err := out.Copy(f); err != nil {
			return fmt.Errorf("complete %s: %s: %w", path, shown(f.Name), err)
		}
	}
	for name, text := range map[string][]byte{FileSeal: stamped, FileStamp: beside} {
		f, err := out.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
		if err == nil {
			_, err = f.Write(text)
		}
		if err != nil {
			return fmt.Errorf("complete %s: %s: %w", path, name, err)
		}
	}
	return out.Close()
}

// sameSeal reports whether stamped is seal with a time stamp and no other change.
func sameSeal(seal, stamped []byte) error {
	token, err := stampIn(stamped)
	if err != nil || token == nil {
		return errors.Join(ErrOtherSeal, err)
	}
	there, err := stampIn(seal)
	switch {
	case err != nil:
		return errors.Join(ErrOtherSeal, err)
	case there != nil:
		return fmt.Errorf("it has its time stamp already: %w", os.ErrExist)
	}
	if again, err := cms.WithStamp(seal, token); err != nil || !bytes.Equal(again, stamped) {
		return ErrOtherSeal
	}
	return nil
}
