"""In which city was this photo taken? Helpers for the notebooks, one module a job."""

__version__ = "0.1.0"
