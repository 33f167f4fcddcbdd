# A machine for one student, or for a JupyterHub: docker build -t blendkit . && docker run --rm -p 127.0.0.1:8888:8888 blendkit
FROM python:3.12-slim
RUN useradd --create-home student && mkdir /srv/blendkit
WORKDIR /srv/blendkit
COPY --chown=student . .
# all dependencies stand in pyproject.toml
RUN pip install --no-cache-dir --editable . && chown student /srv/blendkit
USER student
# the galaxies of the notebooks are simulated now, not in class
RUN python -c "import blendkit as bk; bk.load_sample('synthetic', n=2000, seed=42)"
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--notebook-dir=."]
