"""The doors for a browser, one blueprint a noun: take a request apart, call the noun, show what came back."""

from curator.views import (
    backups,
    changes,
    cleaning,
    convert,
    duplicates,
    exports,
    frame,
    home,
    imports,
    jobs,
    pairs,
    quality,
    queue,
    reviews,
    runs,
    versions,
)

BLUEPRINTS = (
    frame.bp,
    home.bp,
    pairs.bp,
    queue.bp,
    imports.bp,
    exports.bp,
    convert.bp,
    duplicates.bp,
    cleaning.bp,
    quality.bp,
    versions.bp,
    runs.bp,
    reviews.bp,
    changes.bp,
    jobs.bp,
    backups.bp,
)
